"""NVIDIA's load generator, in C++, measures a live master: it ends well and its table is whole."""

import csv
import json
import os
from pathlib import Path

import pytest

from models import data
from support.foreign import Suite, perf_analyzer, run

REQUESTS = 200
ROWS = 4

pytestmark = [pytest.mark.timeout(900), pytest.mark.heavy]


@pytest.fixture(scope="module")
async def measured(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What it printed, and the file of its table."""
    binary, libraries = await perf_analyzer()
    folder = tmp_path_factory.mktemp("perf")
    asked, table = folder / "images.json", folder / "table.csv"
    images = data.load("digits", "test").images[:ROWS].flatten(1).tolist()
    given = [{"input": {"content": image, "shape": [1, 8, 8]}} for image in images]
    asked.write_text(json.dumps({"data": given}))
    printed = await run(
        binary, "-m", "digits", "-i", "grpc", "-u", suite.address, "--input-data", asked,
        "-b", str(ROWS), "--concurrency-range", "4", "--request-count", str(REQUESTS), "-f", table,
        environment={"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))},
    )  # fmt: skip
    return printed.decode(), table


def test_a_measurement(measured: tuple[str, Path]) -> None:
    """Its own counts, and the server's, which it reads as statistics before and after."""
    printed, table = measured
    client, server = printed.split("Server:")
    assert f"Request count: {REQUESTS}" in client
    assert f"Inference count: {REQUESTS * ROWS}" in server
    assert f"Successful request count: {REQUESTS}" in server
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert row["Concurrency"] == "4"
    numbers = {name: float(value) for name, value in row.items()}
    assert numbers["Inferences/Second"] > 0
    assert numbers["Server Compute Infer"] > 0
    assert numbers["p50 latency"] <= numbers["p99 latency"]
