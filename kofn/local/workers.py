"""Worker processes on this machine: started, started again when they die, ended.

It is the local form of what every launcher gives: addresses at which workers can be found.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from kofn.local.process import ServiceProcess
from kofn.wire.errors import KofnError, NotFound

DRAIN_S = 3.0  # tasks in hand at the end; the master has drained before
RESTART_MIN_S, RESTART_MAX_S = 0.1, 5.0  # pause before a restart, doubled while it dies young
OLD_AGE_S = 10.0  # who lived so long may be started again at once


@dataclass
class LocalWorker:
    """One worker of the cluster: the same name and address through all its processes."""

    name: str
    address: str = ""
    pid: int = 0  # of the process that runs now
    restarts: int = 0
    process: ServiceProcess | None = None


class LocalWorkers:
    """Worker processes; `async with` starts them, watches over them, and ends them.

    Args:
        count: how many.
        folder: for logs and the programs that masters push.
        flags: of `python -m worker`, for all of them.
        restart: start a worker again that died.
        on_death: told the name and exit status of a worker that died, negative for a signal.
    """

    def __init__(
        self,
        count: int,
        folder: Path,
        *,
        flags: tuple[str, ...] = (),
        restart: bool = True,
        on_death: Callable[[str, int], None] = lambda name, status: None,
    ) -> None:
        self.all = [LocalWorker(f"worker-{number}") for number in range(count)]
        self._folder = folder
        self._flags = flags
        self._restart = restart
        self._on_death = on_death
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "LocalWorkers":
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self.all:
                    group.create_task(self._start(worker))
        except BaseExceptionGroup as errors:
            await self._end()
            raise errors.exceptions[0] from None
        except BaseException:
            await self._end()
            raise
        self._watching = [
            asyncio.create_task(self._watch(worker), name=f"watch {worker.name}")
            for worker in self.all
        ]
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._end()

    @property
    def addresses(self) -> list[str]:
        """Where they listen; a restart keeps the address."""
        return [worker.address for worker in self.all]

    def named(self, name: str) -> LocalWorker:
        """The worker of that name; raises NotFound."""
        for worker in self.all:
            if worker.name == name:
                return worker
        raise NotFound(f"There is no worker {name!r}; there are worker-0 to {self.all[-1].name}.")

    async def _start(self, worker: LocalWorker) -> None:
        port = worker.address.rpartition(":")[2] or "0"
        arguments = [
            "--name", worker.name, "--port", port, "--cache", str(self._folder / "programs"),
            "--drain-s", str(DRAIN_S), *self._flags,
        ]  # fmt: skip
        process = ServiceProcess("worker", arguments, self._folder / f"{worker.name}.log")
        worker.process = process
        worker.address = (await process.start())["address"]
        worker.pid = process.pid

    async def _watch(self, worker: LocalWorker) -> None:
        pause_s = RESTART_MIN_S
        while worker.process is not None:
            began = monotonic()
            status = await worker.process.wait()
            self._on_death(worker.name, status)
            if not self._restart:
                return
            pause_s = RESTART_MIN_S if monotonic() - began > OLD_AGE_S else 2 * pause_s
            await asyncio.sleep(min(pause_s, RESTART_MAX_S))
            with contextlib.suppress(KofnError):  # the log has it; the next try comes later
                await self._start(worker)
            worker.restarts += 1

    async def _end(self) -> None:
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        running = [worker.process for worker in self.all if worker.process is not None]
        await asyncio.gather(*(process.stop(2 * DRAIN_S) for process in running))
