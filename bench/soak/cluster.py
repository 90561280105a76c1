"""The cluster that a soak runs on: its processes, their logs, and real troubles for its workers."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from kofn.local import LocalCluster

UP_S = 120.0


class SoakCluster(ABC):
    """A master and workers; `async with` starts and ends them.

    Attributes:
        kinds: of real troubles.
        folder: for logs.
    """

    kinds: ClassVar[tuple[str, ...]]
    folder: Path

    @property
    @abstractmethod
    def workers(self) -> list[str]:
        """Their names."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Of the master."""

    @property
    @abstractmethod
    def metrics_address(self) -> str:
        """Of the master's Prometheus metrics."""

    @property
    @abstractmethod
    def pids(self) -> Mapping[str, int]:
        """Process ids by name, as they are now: "master" and the workers'."""

    @abstractmethod
    def trouble(self, kind: str, worker: str) -> Any:
        """A context in which a worker is in trouble of one of `kinds`."""


class LocalSoak(SoakCluster):
    """Processes on this machine."""

    kinds: ClassVar[tuple[str, ...]] = ("pause", "kill")

    def __init__(
        self, workers: int, deployments: Sequence[Mapping[str, Any]], store: Path, folder: Path
    ) -> None:
        self.folder = folder
        self._cluster = LocalCluster(workers, deployments, store=store, folder=folder)

    async def __aenter__(self) -> "LocalSoak":
        await self._cluster.__aenter__()
        await self._cluster.all_up(UP_S)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._cluster.__aexit__(*exception)

    @property
    def workers(self) -> list[str]:
        return [worker.name for worker in self._cluster.workers]

    @property
    def address(self) -> str:
        return self._cluster.address

    @property
    def metrics_address(self) -> str:
        return self._cluster.metrics_address

    @property
    def pids(self) -> Mapping[str, int]:
        workers = {worker.name: worker.pid for worker in self._cluster.workers}
        return {"master": self._cluster.master_pid, **workers}

    @asynccontextmanager
    async def trouble(self, kind: str, worker: str) -> AsyncIterator[None]:
        if kind == "kill":  # it is started again at once
            await self._cluster.kill(worker)
            yield
            return
        pid = self.pids[worker]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
