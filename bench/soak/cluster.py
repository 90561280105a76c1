"""The cluster that a soak runs on: its processes on this machine, and who can harm them.

One that runs already is none of ours: what it deploys is added and taken away again, no more.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, final

import psutil

import kofn
from bench.soak.systems import MOST_SLOTS, System
from kofn.chaos import Chaos, Containers, find
from kofn.cli.connection import At
from kofn.launch import Cluster, DockerWorkers, LocalWorkers
from kofn.launch.stacked import Stacked
from models.store import Store

Backend = Literal["local", "docker"]
LEAST_WORKERS = MOST_SLOTS + 3  # two in trouble, and a liar
UP_S = 180.0  # nine processes that import torch, on a machine that is busy


class Soakable(Protocol):
    """What a soak needs of a cluster.

    Attributes:
        at: the master, and how clients connect to it.
        metrics_address: of its Prometheus metrics.
        workers: their names.
    """

    at: At
    metrics_address: str
    workers: list[str]

    @property
    def chaos(self) -> Chaos | None:
        """Real troubles for them; None: faults are injected only."""

    async def process_ids(self) -> Mapping[str, int]:
        """On this machine, by name: "master" and the workers', of those that run."""


@final
class LaunchedCluster(Stacked):
    """A master here, and workers in processes or containers; `async with` starts and ends them.

    Args:
        backend: where the workers run.
        workers: how many.
        deployments: of the master.
        store: its model store.
        folder: for logs.
        flags: of `python -m worker`, for all of them.
    """

    def __init__(
        self,
        backend: Backend,
        workers: int,
        deployments: Sequence[Mapping[str, Any]],
        store: Path,
        folder: Path,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__()
        launcher = (
            LocalWorkers(workers, flags=flags)
            if backend == "local"
            else DockerWorkers(workers, flags=flags)
        )
        self._cluster = Cluster(launcher, deployments, store=store, folder=folder)
        self._of_workers: dict[str, int] = {}  # of containers, as they were asked last
        self.workers = [worker.name for worker in launcher.workers]
        self.metrics_address = ""
        self.at: At
        self._chaos: Chaos

    @property
    def chaos(self) -> Chaos:
        """See `Soakable`."""
        return self._chaos

    async def process_ids(self) -> Mapping[str, int]:
        """See `Soakable`."""
        if isinstance(self._chaos, Containers):
            if len(self._of_workers) < len(self.workers) or not all(
                psutil.pid_exists(pid) for pid in self._of_workers.values()
            ):
                self._of_workers = await self._chaos.process_ids()
        else:
            self._of_workers = {worker.name: worker.pid for worker in self._cluster.workers}
        return {"master": self._cluster.master_pid, **self._of_workers}

    async def _start(self) -> None:
        await self._stack.enter_async_context(self._cluster)
        self.at = At(self._cluster.address)
        self.metrics_address = self._cluster.metrics_address
        await self._cluster.all_up(UP_S)
        client = await self._stack.enter_async_context(self.at.async_client())
        self._chaos = await find(client)
        self._stack.push_async_callback(self._chaos.close)


@final
class RunningCluster(Stacked):
    """A master that serves already, and its workers, wherever they are; `async with` deploys.

    Its processes are not ours to pause or to watch.

    Args:
        at: the master, and how to connect to it.
        systems: are deployed, and undeployed at the end.
        store: has their models; the master's has the same.

    Raises (on entry):
        FailedPrecondition: too few workers are up, a name is taken, or a model is another one.
        KofnError: the master cannot be reached, or does not deploy them.
        ValueError: files of TLS or the token cannot be used.
    """

    chaos: Chaos | None = None
    metrics_address = ""

    def __init__(self, at: At, systems: Sequence[System], store: Store) -> None:
        super().__init__()
        self.at = at
        self.workers: list[str] = []
        self._systems = systems
        self._store = store

    async def process_ids(self) -> Mapping[str, int]:
        """See `Soakable`: of none."""
        return {}

    async def _start(self) -> None:
        client = await self._stack.enter_async_context(self.at.async_client())
        told = await client.status()
        self.workers = [worker.name for worker in told.workers if worker.state == "up"]
        if len(self.workers) < LEAST_WORKERS:
            raise kofn.FailedPrecondition(
                f"A soak needs {LEAST_WORKERS} workers that are up; {self.at.master} has "
                f"{len(self.workers)}."
            )
        taken = {item.name for item in told.deployments} & {one.name for one in self._systems}
        if taken:
            raise kofn.FailedPrecondition(
                f"{self.at.master} serves {', '.join(sorted(taken))} already, under a name that "
                "the soak deploys; undeploy it, or take another master."
            )
        for system in self._systems:
            made = await client.deploy(system.deployment)
            self._stack.push_async_callback(client.undeploy, system.name)
            if made.program != self._store.card(system.program).hash:
                raise kofn.FailedPrecondition(
                    f"The {system.program} that {self.at.master} serves is not the one in "
                    f"{self._store.root}: --store must name the master's model store."
                )


def kinds(chaos: Chaos | None) -> tuple[str, ...]:
    """The real troubles that workers can be put into."""
    return () if chaos is None else tuple(dict.fromkeys((*chaos.remedies, "kill")))
