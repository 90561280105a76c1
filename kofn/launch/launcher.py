"""What every launcher gives: workers, by name, and where a master finds them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

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


def numbered(count: int) -> list[Worker]:
    """worker-0, worker-1, ..."""
    return [Worker(f"worker-{number}") for number in range(count)]
