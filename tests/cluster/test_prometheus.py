"""A real Prometheus scrapes a live cluster, and is asked all that the Grafana dashboard asks."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import kofn
from kofn.launch import Cluster, LocalWorkers
from models import data
from models.store import Store
from support.prometheus import (
    DEPLOY,
    PROGRAM,
    SERVED,
    SLOW_AT_TIMES,
    Prometheus,
    prometheus,
    until_all_told,
    variables,
)  # fmt: skip

WORKERS = 3
PATIENCE_S = 120.0

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="there is no program `prometheus` here"),
    pytest.mark.timeout(300),
]


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
            await until_all_told(seen, client, rows)
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
