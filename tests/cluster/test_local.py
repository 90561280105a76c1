"""The launcher: workers come back where they were, nothing outlives it, failures say why."""

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

import kofn
from kofn.launch import Cluster, LocalWorkers, StaticWorkers
from support.cluster import cluster as in_process

PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(120)


async def test_a_killed_worker_comes_back_at_its_address(tmp_path: Path) -> None:
    """With a new process, under its old name."""
    deaths: list[tuple[str, int]] = []
    launcher = LocalWorkers(2, on_death=lambda name, status: deaths.append((name, status)))
    async with Cluster(launcher, folder=tmp_path / "run") as cluster:
        await cluster.all_up(PATIENCE_S)
        before = [(worker.name, worker.address, worker.pid) for worker in cluster.workers]
        await cluster.kill("worker-1")
        async with asyncio.timeout(PATIENCE_S):
            while cluster.workers[1].restarts == 0:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        await cluster.all_up(PATIENCE_S)
        after = [(worker.name, worker.address, worker.pid) for worker in cluster.workers]
        assert deaths == [("worker-1", -signal.SIGKILL)]
        assert after[0] == before[0]
        assert after[1][:2] == before[1][:2]
        assert after[1][2] != before[1][2]
        with pytest.raises(kofn.NotFound, match="worker-7"):
            await cluster.kill("worker-7")
    assert (tmp_path / "run" / "worker-1.log").stat().st_size > 0


async def test_a_worker_that_cannot_start_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of its log is in the error, and the others are gone; asyncio has nothing to add."""
    with pytest.raises(kofn.Unavailable, match="no-such-device"):
        async with LocalWorkers(2, flags=("--device", "no-such-device")).running(tmp_path):
            pass
    assert "child process" not in caplog.text


async def test_a_deployment_that_cannot_be_bound_says_why(tmp_path: Path) -> None:
    """The master's words reach the caller; the workers are gone."""
    deployment = {"name": "x", "program": "no-such-model"}
    with pytest.raises(kofn.Unavailable, match="no-such-model"):
        async with Cluster(LocalWorkers(1), [deployment], store=tmp_path / "store"):
            pass


LAUNCH = """
import asyncio
from kofn.launch import Cluster, LocalWorkers

async def main():
    async with Cluster(LocalWorkers(2)) as cluster:
        print(cluster.master_pid, *(worker.pid for worker in cluster.workers), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_services_end_when_their_launcher_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves it no time to say goodbye; its children notice by themselves."""
    launcher = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LAUNCH, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert launcher.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        pids = [int(pid) for pid in (await launcher.stdout.readline()).split()]
    services = [psutil.Process(pid) for pid in pids]
    launcher.kill()
    await launcher.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, services, timeout=30)
    for process in alive:
        process.kill()
    assert len(gone) == 3
    assert not alive


async def test_nothing_is_downloaded_or_kept(tmp_path: Path, digits_store: Any) -> None:
    """A cluster without a folder of its own leaves none behind."""
    deployment = {"name": "digits", "program": "digits-mlp"}
    async with Cluster(LocalWorkers(1), [deployment], store=digits_store.root) as cluster:
        assert cluster.folder is not None
        folder = cluster.folder
        assert (folder / "deployment.yaml").exists()
    assert not folder.exists()


async def test_waiting_in_vain_for_workers_leaves_nothing_behind(
    tmp_path: Path, digits_store: Any
) -> None:
    """The events that it listened to are let go: no task, and no exception that nobody takes."""
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        async with in_process(tmp_path, digits_store, [], 1) as live:
            waiting = Cluster(StaticWorkers([live.workers[0].address, "127.0.0.1:1"]))
            waiting.address = live.master.address
            with pytest.raises(TimeoutError):
                await waiting.all_up(0.3)
            del waiting
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert told == []
