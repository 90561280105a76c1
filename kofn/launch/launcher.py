"""What every launcher gives: workers, by name, and where a master finds them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kofn.wire.errors import NotFound

OnDeath = Callable[[str, int], None]  # a worker's name and exit status, negative for a signal


@dataclass
class Worker:
    """One worker: the same name through all its processes."""

    name: str
    address: str = ""  # "host:port"; empty while nobody knows
    pid: int = 0  # of the process that runs now, where it runs on this machine
    restarts: int = 0


class Launcher(ABC):
    """Workers somewhere; `async with launcher.running(folder)` starts them and surely ends them.

    Attributes:
        workers: by number; their names stay, their addresses only where `targets` says so.
        cluster: the name that its containers carry as a label; empty where there are none.
    """

    cluster = ""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = list(workers)

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[None]:
        """All workers serve inside, and none is left behind.

        Args:
            folder: for logs and whatever else the workers keep.

        Raises (on entry):
            KofnError: a worker did not start, or there is nothing to start it with.
        """
        try:
            await self._start(folder)
            yield
        finally:
            await self._end()

    @property
    def targets(self) -> list[str]:
        """What a master is told: addresses, names that stand for addresses, or a file of them."""
        return [worker.address for worker in self.workers]

    @abstractmethod
    async def kill(self, name: str) -> None:
        """SIGKILL a worker; returns when it is dead. Raises NotFound."""

    @abstractmethod
    async def restart(self, name: str) -> None:
        """End a worker where it is alive, and have it started again. Raises NotFound."""

    @abstractmethod
    async def logs(self, name: str) -> str:
        """What a worker has logged so far. Raises NotFound."""

    @abstractmethod
    async def _start(self, folder: Path) -> None:
        """Returns when all workers serve; what it leaves half-done is ended by `_end`."""

    @abstractmethod
    async def _end(self) -> None:
        """Ends all that was started, also by a `_start` that was broken off."""

    def _named(self, name: str) -> Worker:
        for worker in self.workers:
            if worker.name == name:
                return worker
        known = ", ".join(worker.name for worker in self.workers)
        raise NotFound(f"There is no worker {name!r}; there are: {known}.")


class WatchedWorkers(Launcher):
    """Workers that somebody here watches, each by a task, and starts again when they die."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        super().__init__(workers)
        self._watching: list[asyncio.Task[None]] = []

    async def _launch_and_watch(self) -> None:
        """Returns when all workers serve; raises what kept the first of them from it."""
        await together(self._launch(worker) for worker in self.workers)
        self._watching = [
            asyncio.create_task(self._watch(worker), name=f"watch {worker.name}")
            for worker in self.workers
        ]

    async def _watch_no_more(self) -> None:
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    @abstractmethod
    async def _launch(self, worker: Worker) -> None:
        """Start a worker; returns when it serves. Raises KofnError."""

    @abstractmethod
    async def _watch(self, worker: Worker) -> None:
        """Launch a worker again whenever it has died, until cancelled."""


async def together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once; the first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def numbered(count: int, kind: str = "worker") -> list[Worker]:
    """worker-0, worker-1, ..."""
    return [Worker(f"{kind}-{number}") for number in range(count)]
