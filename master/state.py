"""What this master serves: its deployments by name, and who is told when something changes.

The gateway reads it, the control service changes it. It binds deployments off the event loop.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING

import structlog

from kofn.wire import control_pb2
from kofn.wire.errors import DRAINING, NotFound, Unavailable
from master.binding import bind
from master.config import DeploymentConfig
from master.deployment import Deployment
from master.pool import Pool
from models.store import Store

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

EVENT_BACKLOG = 1000  # a watcher that falls further behind is cut off, not buffered for

log = structlog.get_logger(__name__)


class Events:
    """Fans events out to whoever watches; a slow watcher cannot hold the others up."""

    def __init__(self) -> None:
        # Queues of those who watch; added and removed by `watch`, dropped by `tell` when full.
        self.watchers: set[asyncio.Queue[control_pb2.Event | None]] = set()
        self.changed = asyncio.Event()  # set by every event; cleared by the one who follows it

    def tell(self, kind: str, subject: str, detail: str) -> None:
        """Hand the event to every watcher, now."""
        self.changed.set()
        event = control_pb2.Event(time_s=time(), kind=kind, subject=subject, detail=detail)
        for queue in list(self.watchers):
            if queue.qsize() >= EVENT_BACKLOG:
                self.watchers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["asyncio.Queue[control_pb2.Event | None]"]:
        """A queue of events from now on; None ends it."""
        queue: asyncio.Queue[control_pb2.Event | None] = asyncio.Queue()
        self.watchers.add(queue)
        try:
            yield queue
        finally:
            self.watchers.discard(queue)

    def end(self) -> None:
        """Let every watcher go."""
        for queue in self.watchers:
            queue.put_nowait(None)
        self.watchers.clear()


@dataclass
class State:
    """The live deployments of one master, and its workers."""

    pool: Pool
    store: Store
    events: Events
    deployments: dict[str, Deployment] = field(default_factory=dict)
    started: float = field(default_factory=monotonic)
    process_id: int = field(default_factory=os.getpid)
    draining: bool = False
    tracer: "Tracer | None" = None  # None: no spans
    any_deployed: asyncio.Event = field(default_factory=asyncio.Event)  # from the first one on
    # One deployment at a time is begun or ended: none forgets a program that another has provided.
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_ready(self) -> bool:
        """Whether requests are accepted."""
        return not self.draining

    def deployment(self, name: str) -> Deployment:
        """The deployment of that name.

        Raises:
            NotFound: there is none; the message lists those that there are.
        """
        found = self.deployments.get(name)
        if found is None:
            served = ", ".join(sorted(self.deployments)) or "none"
            raise NotFound(f"There is no model {name!r} here; served: {served}.")
        return found

    async def deploy(self, config: DeploymentConfig) -> Deployment:
        """Start, or replace, the deployment of that name; returns when it serves.

        A request is answered by one generation, the old one's code and programs or the new one's:
        every worker holds all new programs before the name comes to mean the new one, which is one
        step; a replaced deployment answers what it has taken, for as long as its clients wait.
        """
        async with self._changing:
            if self.draining:
                raise Unavailable("The master is draining and takes no deployment.", DRAINING)
            binding = await asyncio.to_thread(bind, config, self.store)
            for program, archive in binding.archives.items():
                await self.pool.provide(program, archive)
            deployment = Deployment(config, binding, self.pool, self.tracer)
            if deployment.shares is not None:
                await deployment.shares.provide()
            replaced = self.deployments.get(config.name)
            self.deployments[config.name] = deployment
            self.any_deployed.set()
            log.info("deployed", name=config.name, code=repr(binding.code), program=binding.model)
            self.events.tell("deployed", config.name, repr(binding.code))
            if replaced is not None:
                await replaced.close("replaced by a new deployment", replaced.longest_wait_s)
                await self._release(replaced)
            return deployment

    async def provide_shares(self) -> None:
        """Coded weights to the workers that are up, of all deployments that have any."""
        for deployment in self.deployments.values():
            if deployment.shares is not None:
                await deployment.shares.provide()

    async def undeploy(self, name: str, drain_s: float) -> None:
        """Stop serving that name, after the requests in hand; NotFound when there is none."""
        async with self._changing:
            deployment = self.deployment(name)
            del self.deployments[name]
            self.events.tell("undeployed", name, "")
            await deployment.close("undeployed", drain_s)
            await self._release(deployment)

    async def drain(self, drain_s: float) -> None:
        """Refuse new requests and wait for those in hand."""
        self.draining = True
        closing: Sequence[Deployment] = tuple(self.deployments.values())
        await asyncio.gather(*(item.close("the master is draining", drain_s) for item in closing))
        self.events.end()

    async def _release(self, deployment: Deployment) -> None:
        still = {name for item in self.deployments.values() for name in item.binding.archives}
        for program in deployment.binding.archives.keys() - still:
            self.pool.forget(program)
        shares = deployment.shares
        others = [other.shares for other in self.deployments.values()]
        if shares is not None and all(o is None or o.prefix != shares.prefix for o in others):
            await shares.close()
