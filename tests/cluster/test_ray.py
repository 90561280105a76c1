"""Workers on a real Ray cluster of two nodes, one of which dies.

Ray runs in processes of its own here: what it warns of is not ours to mend.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kofn as api
from models import data
from support.commands import Up, kofn, start

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
WORKERS, K = 4, 2
CONTRACT = """
import asyncio, pathlib, sys
from kofn.launch import RayWorkers
from support.launching import check_launcher
asyncio.run(check_launcher(RayWorkers(2), pathlib.Path(sys.argv[1])))
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


class Nodes:
    """The Ray cluster."""

    def __init__(self, folder: Path, log: Any) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self.environment = {
            "PYTHONPATH": paths, "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        self.environment["RAY_ADDRESS"] = self._line()

    def kill_one(self) -> None:
        """SIGKILL the second node and all that runs there."""
        assert self.process.stdin is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self._line() == "killed"

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the Ray cluster ended"
        return line


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Started and ended for one test: what Ray starts in between is not left behind by it."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray's sockets lie in it
    with (tmp_path / "ray.log").open("w") as log:
        running = Nodes(folder, log)
        yield running
        running.process.communicate(timeout=PATIENCE_S)  # closes its input
    shutil.rmtree(folder, ignore_errors=True)


def test_actors_keep_the_contract(nodes: Nodes, tmp_path: Path) -> None:
    """See `check_launcher`."""
    subprocess.run(
        [sys.executable, "-c", CONTRACT, str(tmp_path)],
        check=True, timeout=2 * PATIENCE_S, env={**os.environ, **nodes.environment},
    )  # fmt: skip


async def test_a_node_dies(nodes: Nodes, digits_store: Any, tmp_path: Path) -> None:
    """Every query is answered meanwhile; its workers come back on the other node and are used."""
    log = tmp_path / "up.log"
    flags = ("--backend", "ray", "--workers", str(WORKERS), "--name", "digits", "--k", str(K))
    up = await asyncio.to_thread(
        start, digits_store.root, log, *flags, environment=nodes.environment
    )
    try:
        await _lose_a_node(nodes, up)
    finally:
        status = await asyncio.to_thread(up.end)
    assert status == 0, log.read_text()


async def _lose_a_node(nodes: Nodes, up: Up) -> None:
    images = data.load("digits", "test").images.numpy()[:16]
    before = {worker["name"]: worker["address"] for worker in up.ready["workers"]}
    async with api.AsyncClient(up.ready["address"]) as client:

        async def told() -> dict[str, Any]:
            return {w.name: w for w in (await client.status()).workers if w.state == "up"}

        answered = []
        nodes.kill_one()
        seen_down = False
        while len(now := await told()) < WORKERS or not seen_down:
            seen_down = seen_down or len(now) < WORKERS
            answered.append(await client.infer("digits", images, timeout_s=20, wait="first"))
        moved = {name for name, worker in now.items() if worker.address != before[name]}
        assert moved
        assert moved != set(before)
        assert all((answers.source != api.Source.MISSING).all() for answers in answered)
        assert all(np.isfinite(answers.outputs).all() for answers in answered)
        again = await client.infer("digits", images, timeout_s=20, wait="all")
        assert (again.source == api.Source.DIRECT).all()
        assert all(worker.results > 0 for worker in (await told()).values())


def test_a_cluster_that_is_not_there_is_told(digits_store: Any) -> None:
    """Soon, and by its address."""
    flags = ("--backend", "ray", "--port", "0", "--metrics-port", "0")
    environment = {"RAY_ADDRESS": "127.0.0.1:1"}
    store = ("--store", str(digits_store.root))
    assert "127.0.0.1:1" in kofn("up", *flags, *store, status=1, environment=environment)


def test_the_missing_package_is_told(digits_store: Any, tmp_path: Path) -> None:
    """By the command that installs it."""
    (tmp_path / "ray.py").write_text("raise ImportError('no ray here')\n")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    flags = ("--backend", "ray", "--port", "0", "--metrics-port", "0")
    store = ("--store", str(digits_store.root))
    said = kofn("up", *flags, *store, status=1, environment=environment)
    assert "pip install 'kofn[ray]'" in said
