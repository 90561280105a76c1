"""The contract of launchers: what a cluster and its user may rely on, whatever runs the workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

import kofn
from kofn.launch import Cluster, Launcher

PATIENCE_S = 120.0  # a busy machine starts a worker in half a minute


async def check_launcher(launcher: Launcher, folder: Path) -> None:
    """Two workers or more serve; one is killed, missed, started again and used again."""
    async with (
        Cluster(launcher, folder=folder) as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        names = [f"worker-{number}" for number in range(len(launcher.workers))]
        assert [worker.name for worker in cluster.workers] == names
        await cluster.all_up(PATIENCE_S)
        told = {worker.name: worker.address for worker in (await client.status()).workers}
        assert told == {worker.name: worker.address for worker in cluster.workers}
        assert "serving" in await launcher.logs("worker-1")
        async with watching(client) as seen:
            await launcher.kill("worker-1")
            await seen("worker-down", "worker-1")
            await launcher.restart("worker-1")
            await seen("worker-up", "worker-1")
        await cluster.all_up(PATIENCE_S)
        for refused in (launcher.kill, launcher.restart, launcher.logs):
            with pytest.raises(kofn.NotFound, match="'worker-9'; there are: worker-0, worker-1"):
                await refused("worker-9")


@asynccontextmanager
async def watching(
    client: kofn.AsyncClient,
) -> AsyncIterator[Callable[[str, str], Awaitable[None]]]:
    """Gives a function that waits until the master has told of a kind of event of a worker."""
    told: set[tuple[str, str]] = set()
    changed = asyncio.Event()

    async def watch() -> None:
        async with aclosing(client.events(timeout_s=3 * PATIENCE_S)) as events:
            async for event in events:
                told.add((event.kind, event.subject))
                changed.set()

    async def seen(kind: str, worker: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (kind, worker) not in told:
                changed.clear()
                await changed.wait()

    task = asyncio.create_task(watch(), name="watch")
    try:
        while not told:  # the master tells what happens once it has heard of the watcher
            await client.set_faults(None, ["worker-0"])
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
