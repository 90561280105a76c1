"""A real Prometheus, where the machine has one, and what our Grafana dashboard asks of it."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import yaml

import kofn
from support.compose import free_ports

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROGRAM = shutil.which("prometheus")
ASK_S = 30.0
START_S = 60.0
ENDING_S = 30.0
PATIENCE_S = 120.0
REQUEST_S = 20.0
RANGE = "1m"  # of rates: many scrapes
DECODED = f'sum(rate(kofn_rows_total{{source="decoded"}}[{RANGE}])) > 0'

# A deployment and faults by which every panel gets something to show.
SERVED: dict[str, Any] = {
    "name": "digits",
    "program": "digits-lenet",
    "code": {"name": "parity", "k": 2, "n": 3},
    "policy": {"wait": "soft", "soft_deadline": "20ms"},
    "timeout_ms": 10_000,
}
SLOW_AT_TIMES = {"delay": {"law": "bimodal", "slow_ms": 300, "slow_probability": 0.3}}


def board() -> Any:
    """The dashboard, as Grafana reads it."""
    return json.loads((DEPLOY / "grafana" / "kofn.json").read_text())


def panels() -> list[str]:
    """The expressions of all panels, with Grafana's variables in them."""
    return [target["expr"] for panel in board()["panels"] for target in panel.get("targets", ())]


def variables() -> list[str]:
    """Where the dashboard's own variables get their values from: `label_values(METRIC, LABEL)`."""
    return [item["query"]["query"] for item in board()["templating"]["list"]]


class Prometheus:
    """One that answers at an address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, expression: str) -> list[Any]:
        """The series that an expression has now; AssertionError when it is none."""
        return list(self._get("query", query=expression)["result"])

    def label_values(self, metric: str, label: str) -> list[str]:
        """As Grafana fills a variable."""
        return list(self._get(f"label/{label}/values", **{"match[]": metric}))

    def targets(self) -> list[Any]:
        """What it scrapes, and how that went."""
        return list(self._get("targets")["activeTargets"])

    def is_ready(self) -> bool:
        """Whether it answers at all."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=ASK_S):
                return True
        except OSError:
            return False

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"http://{self.address}/api/v1/{what}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=ASK_S) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error


@contextlib.contextmanager
def prometheus(folder: Path, metrics_address: str) -> Iterator[Prometheus]:
    """One that scrapes a master at an address, every second; else as deploy/prometheus.yaml says.

    Args:
        folder: for its files.
        metrics_address: in place of the name `master`, which only the compose file's network has.
    """
    assert PROGRAM is not None
    settings = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    settings["global"]["scrape_interval"] = "1s"
    (job,) = settings["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [metrics_address]}]
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump(settings))
    (port,) = free_ports(1)
    flags = {
        "config.file": config,
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, *(f"--{name}={value}" for name, value in flags.items())],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        made = Prometheus(f"127.0.0.1:{port}")
        deadline = time.monotonic() + START_S
        while not made.is_ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
            is_starting = process.returncode is None and time.monotonic() < deadline
            assert is_starting, (folder / "log").read_text()
        yield made
    finally:
        process.terminate()
        process.wait(ENDING_S)


async def until_all_told(seen: Prometheus, client: kofn.AsyncClient, rows: np.ndarray) -> None:
    """Return once every panel has a number; queries go on, since panels show rates.

    Args:
        seen: scrapes the client's master, which serves SERVED.
        client: asks meanwhile; every row must be answered.
        rows: [b, *query] of a request.
    """
    silent = [
        expression.replace("$deployment", ".*").replace("$__rate_interval", RANGE)
        for expression in panels()
    ]
    assert len(silent) > 20
    silent.append(DECODED)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while silent:
                answers = await client.infer(SERVED["name"], rows, timeout_s=REQUEST_S)
                assert answers.is_whole
                silent = await asyncio.to_thread(_without_numbers, seen, silent)
    except TimeoutError:
        raise AssertionError(f"nothing is told of: {silent}") from None


def _without_numbers(seen: Prometheus, expressions: list[str]) -> list[str]:
    """Those of the expressions that have no series, or none with a number: 0 / 0 is none."""
    return [
        expression for expression in expressions
        if all(isnan(float(series["value"][1])) for series in seen.ask(expression))
    ]  # fmt: skip
