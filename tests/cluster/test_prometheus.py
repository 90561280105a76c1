"""A real Prometheus scrapes a live cluster, and is asked all that the Grafana dashboard asks."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kofn
from kofn.launch import Cluster, LocalWorkers
from models import data
from models.store import Store
from support.prometheus import DEPLOY, PROGRAM, Prometheus, panels, prometheus, variables

WORKERS = 3
PATIENCE_S = 120.0
REQUEST_S = 20.0
SERVED = {
    "name": "digits",
    "program": "digits-lenet",
    "code": {"name": "parity", "k": 2, "n": 3},
    "policy": {"wait": "soft", "soft_deadline": "20ms"},
    "timeout_ms": 10_000,
}
SLOW_AT_TIMES = {"delay": {"law": "bimodal", "slow_ms": 300, "slow_probability": 0.3}}
DECODED = 'sum(rate(kofn_rows_total{source="decoded"}[20s])) > 0'

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="there is no program `prometheus` here"),
    pytest.mark.timeout(300),
]


def filled(expression: str) -> str:
    """As Grafana sends it, with every deployment chosen and a range of some scrapes."""
    return expression.replace("$deployment", ".*").replace("$__rate_interval", "20s")


@pytest.mark.long
async def test_every_panel_has_what_has_happened(tmp_path: Path) -> None:
    """Of answered rows, decoded ones, and a fault in force; what is misspelt would be found."""
    rows = data.load("digits", "test").images.numpy()[:8]
    (tmp_path / "prometheus").mkdir()
    async with (
        Cluster(LocalWorkers(WORKERS), [SERVED], store=Store().root) as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        await cluster.all_up(PATIENCE_S)
        await client.set_faults(SLOW_AT_TIMES)
        with prometheus(tmp_path / "prometheus", cluster.metrics_address) as seen:
            await _until_all_told(seen, client, rows)
            values = await asyncio.to_thread(_values, seen)
            assert await asyncio.to_thread(seen.ask, "kofn_rowz_total") == []
            with pytest.raises(AssertionError, match="parse error"):
                await asyncio.to_thread(seen.ask, "sum by (")
    assert values["variables"] == [["digits"]]
    assert [target["health"] for target in values["targets"]] == ["up"]
    assert values["rows"] > 0
    assert values["up"] == WORKERS
    assert values["faults"] == {f"worker-{number}": "delay" for number in range(WORKERS)}


def test_its_own_checker_finds_nothing_wrong() -> None:
    """With what the compose file mounts."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no program `promtool` here")
    command = [promtool, "check", "config", str(DEPLOY / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def _until_all_told(seen: Prometheus, client: kofn.AsyncClient, rows: np.ndarray) -> None:
    """Return once every panel has a series of numbers; queries go on, since panels show rates."""
    silent = [filled(expression) for expression in panels()] + [DECODED]
    assert len(silent) > 20
    try:
        async with asyncio.timeout(PATIENCE_S):
            while silent:
                answers = await client.infer("digits", rows, timeout_s=REQUEST_S)
                assert (answers.source != kofn.Source.MISSING).all()
                silent = await asyncio.to_thread(_without_numbers, seen, silent)
    except TimeoutError:
        pytest.fail(f"nothing is told of: {silent}")


def _without_numbers(seen: Prometheus, expressions: list[str]) -> list[str]:
    """Those of the expressions that have no series, or none with a number: 0 / 0 is none."""
    return [
        expression for expression in expressions
        if not any(float(series["value"][1]) == float(series["value"][1])
                   for series in seen.ask(expression))
    ]  # fmt: skip


def _values(seen: Prometheus) -> dict[str, Any]:
    """What must be so in this cluster."""

    def one(expression: str) -> float:
        (series,) = seen.ask(expression)
        return float(series["value"][1])

    asked = [re.fullmatch(r"label_values\((\w+), (\w+)\)", text) for text in variables()]
    return {
        "variables": [seen.label_values(*match.groups()) for match in asked if match],
        "targets": seen.targets(),
        "rows": one("sum(rate(kofn_rows_total[20s]))"),
        "up": one("sum(kofn_worker_up)"),
        "faults": {
            series["metric"]["worker"]: series["metric"]["fault"]
            for series in seen.ask("kofn_worker_faults > 0")
        },
    }
