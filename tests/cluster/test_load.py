"""`python -m bench load` against a real cluster: Poisson, a trace, and what it cannot ask."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kofn.launch import Cluster, LocalWorkers
from models.store import Store

PATIENCE_S = 60.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


async def load(*flags: str) -> tuple[int, str, str]:
    """Exit status and what was told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench", "load", "--deadline-ms", "10000", *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, told = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), told.decode()


async def test_a_load_is_sent_and_told(digits_store: Store, tmp_path: Path) -> None:
    """All are answered, and as right as the model is; lateness is told, whatever it was."""
    deployment = {"name": "d", "program": "digits-mlp", "timeout_ms": 10_000}
    async with Cluster(LocalWorkers(1), [deployment], store=digits_store.root) as cluster:
        await cluster.all_up(PATIENCE_S)
        at = ("--master", cluster.address)
        status, out, _ = await load(*at, "--rate", "40", "--seconds", "2", "--json")
        told: dict[str, Any] = json.loads(out)
        assert told["model"] == "d"
        assert 40 < told["requests"] == told["answered"] < 130
        assert told["accuracy"] > 0.9
        assert told["latency"]["count"] == told["requests"]
        assert told["load"]["kept_up"] == (status == 0) == (told["load"]["late_share"] <= 0.01)
        trace = tmp_path / "trace.txt"
        trace.write_text("0\n0.01\n0.01\n")
        status, out, _ = await load(*at, "--trace", str(trace), "--rows", "4", "--json")
        told = json.loads(out)
        assert (told["requests"], told["queries"], told["answered"]) == (3, 12, 12)
        status, _, words = await load(*at, "--model", "no-such-model")
        assert status == 2
        assert "no-such-model" in words
