"""Processes on this machine, workers or nodes: started, started again when they die, ended."""

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import final

from kofn.launch.launcher import OnDeath, WatchedWorkers, Worker, numbered
from kofn.launch.process import ServiceProcess
from kofn.wire.errors import KofnError

DRAIN_S = 3.0  # tasks in hand at the end; the master has drained before
RESTART_MIN_S, RESTART_MAX_S = 0.1, 5.0  # pause before a restart, doubled while it dies young
OLD_AGE_S = 10.0  # who lived so long may be started again at once


class LocalProcesses(WatchedWorkers):
    """Processes of this machine's loopback; one that dies comes back at its address."""

    def __init__(self, workers: Sequence[Worker], on_death: OnDeath) -> None:
        super().__init__(workers)
        self._on_death = on_death
        self._processes: dict[str, ServiceProcess] = {}  # by name: the one that runs, or ran last
        self._folder: Path

    async def kill(self, name: str) -> None:
        """See `Launcher`; it comes back by itself."""
        await self._processes[self._named(name).name].kill()

    async def restart(self, name: str) -> None:
        """See `Launcher`; who watches it starts it again."""
        await self._processes[self._named(name).name].stop(2 * DRAIN_S)

    async def logs(self, name: str) -> str:
        """See `Launcher`; of all its processes, one after the other."""
        log = self._log(self._named(name))
        return await asyncio.to_thread(log.read_text, errors="replace")

    async def _start(self, folder: Path) -> None:
        self._folder = folder
        await self._launch_and_watch()

    async def _launch(self, worker: Worker) -> None:
        process = self._process(worker)
        self._processes[worker.name] = process
        worker.address = (await process.start())["address"]
        worker.pid = process.pid

    async def _watch(self, worker: Worker) -> None:
        pause_s = RESTART_MIN_S
        while True:
            began = monotonic()
            status = await self._processes[worker.name].wait()
            self._on_death(worker.name, status)
            pause_s = RESTART_MIN_S if monotonic() - began > OLD_AGE_S else 2 * pause_s
            await asyncio.sleep(min(pause_s, RESTART_MAX_S))
            with contextlib.suppress(KofnError):  # the log has it; the next try comes later
                await self._launch(worker)
            worker.restarts += 1

    async def _end(self) -> None:
        await self._watch_no_more()
        await asyncio.gather(*(process.stop(2 * DRAIN_S) for process in self._processes.values()))

    @abstractmethod
    def _process(self, worker: Worker) -> ServiceProcess:
        """That is to be started."""

    def _log(self, worker: Worker) -> Path:
        return self._folder / f"{worker.name}.log"


@final
class LocalWorkers(LocalProcesses):
    """Workers.

    Args:
        count: how many.
        flags: of `python -m worker`, for all of them.
        on_death: told of each worker that died.
    """

    def __init__(
        self,
        count: int,
        *,
        flags: Sequence[str] = (),
        on_death: OnDeath = lambda name, status: None,
    ) -> None:
        super().__init__(numbered(count), on_death)
        self._flags = tuple(flags)

    def _process(self, worker: Worker) -> ServiceProcess:
        port = worker.address.rpartition(":")[2] or "0"
        arguments = [
            "--name", worker.name, "--port", port, "--cache", str(self._folder / "programs"),
            "--drain-s", str(DRAIN_S), *self._flags,
        ]  # fmt: skip
        return ServiceProcess("worker", arguments, self._log(worker))


@final
class LocalNodes(LocalProcesses):
    """Nodes of a training without a master.

    Args:
        count: how many.
        config: of `python -m nodes`, with as many addresses of this machine.
        on_death: told of each node that died.
    """

    def __init__(
        self, count: int, config: Path, *, on_death: OnDeath = lambda name, status: None
    ) -> None:
        super().__init__(numbered(count, "node"), on_death)
        self._config = config

    def _process(self, worker: Worker) -> ServiceProcess:
        number = worker.name.rpartition("-")[2]
        arguments = ["train", "--config", str(self._config), "--number", number]
        return ServiceProcess("nodes", arguments, self._log(worker))
