"""Real processes that freeze, drain and go, under load: nothing that was accepted is lost."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import kofn
from kofn.launch import Cluster, LocalWorkers
from models import data

PATIENCE_S = 60.0  # of one step on a busy machine; how long it takes is for `bench recovery`
REQUEST_S = 20.0
CLIENTS = 3
K, N = 2, 4
NEVER_TAKEN = {"draining", "not-ready", "not-connected"}

pytestmark = pytest.mark.timeout(180)


class Load:
    """Clients that keep asking, without any repetition of their own."""

    def __init__(self, address: str) -> None:
        self._images = data.load("digits", "test").images.numpy()[: 2 * K]
        self._client = kofn.AsyncClient(address, retry=kofn.Retry(attempts=1))
        self.answered = 0
        self.errors: list[kofn.KofnError] = []
        self._asking = [asyncio.create_task(self._ask()) for _ in range(CLIENTS)]

    async def more(self, count: int = 20) -> None:
        """Wait for so many further answers."""
        wanted = self.answered + count
        async with asyncio.timeout(PATIENCE_S):
            while self.answered < wanted and not self.errors:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Ask no more, and take the answers that are due."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._client.close()

    async def refused(self) -> None:
        """Wait until every client has met an error."""
        await asyncio.wait_for(asyncio.gather(*self._asking), PATIENCE_S)

    async def _ask(self) -> None:
        while not self.errors:
            try:
                answers = await self._client.infer("digits", self._images, timeout_s=REQUEST_S)
            except kofn.KofnError as error:
                self.errors.append(error)
                return
            assert answers.is_whole
            self.answered += 1
            await asyncio.sleep(0.002)


class Told:
    """What the master tells of its workers."""

    def __init__(self, client: kofn.AsyncClient) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._listening = asyncio.create_task(self._listen(client))
        self._news = asyncio.Condition()

    async def of(self, kind: str, worker: str, count: int = 1) -> None:
        """Wait until it was told so often."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: self._counts[kind, worker] >= count)

    async def end(self) -> None:
        """Listen no more."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self, client: kofn.AsyncClient) -> None:
        async for event in client.events():
            async with self._news:
                self._counts[event.kind, event.subject] += 1
                self._news.notify_all()


async def test_freezing_and_draining_lose_nothing(digits_store: Any, tmp_path: Path) -> None:
    """A worker is frozen and thawed, another drained and restarted, then the master drained.

    Every request of steady load is answered in full, until the master refuses new ones; none ends
    in a broken connection.
    """
    deployment = {
        "name": "digits",
        "program": "digits-mlp",
        "code": {"name": "parity", "k": K, "n": N, "calibrated": True},
        "timeout_ms": int(1e3 * REQUEST_S),
    }
    launcher = LocalWorkers(N)
    async with (
        Cluster(launcher, [deployment], store=digits_store.root, folder=tmp_path) as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        await cluster.all_up(PATIENCE_S)
        told, load = Told(client), Load(cluster.address)
        try:
            await load.more()
            await _freeze_and_thaw(launcher, told, load)
            await _drain_a_worker(launcher, told, load)
            assert not load.errors
            os.kill(cluster.master_pid, signal.SIGTERM)
            await load.refused()
        finally:
            await told.end()
            await load.end()
        with pytest.raises(kofn.Unavailable, match="ended with status 0"):
            await asyncio.wait_for(cluster.wait(), PATIENCE_S)
    assert {error.reason for error in load.errors} <= NEVER_TAKEN, load.errors
    assert '"draining"' in (tmp_path / "master.log").read_text()


async def _freeze_and_thaw(launcher: LocalWorkers, told: Told, load: Load) -> None:
    """Out of the rotation while it is stopped, though its connection never breaks by itself."""
    frozen = launcher.workers[0]
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        await told.of("worker-down", frozen.name)
        await load.more()
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    await told.of("worker-up", frozen.name)
    await load.more()


async def _drain_a_worker(launcher: LocalWorkers, told: Told, load: Load) -> None:
    """It says that it leaves, answers what it has, and comes back as a new process."""
    before = launcher.workers[1].pid
    restarting = asyncio.create_task(launcher.restart("worker-1"))
    await told.of("worker-draining", "worker-1")
    await restarting
    await told.of("worker-up", "worker-1")
    assert launcher.workers[1].pid != before
    await load.more()
