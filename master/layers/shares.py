"""Coded weights at the workers: which worker is which node, and who holds its shares.

A worker that restarts has lost its shares and gets them again; one that does not come back makes
room for another. Until a node's shares are there it is no node: an erasure.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from time import monotonic

import structlog

from kofn.matrices.worker import Held, MatrixWorker
from kofn.wire.errors import KofnError
from kofn.wire.matrices import head_of
from master.layers.network import Network
from master.link import Link
from master.pool import Pool

AGAIN_S = 1.0  # after a share could not be put
PUT_S = 60.0  # a share of 64 MiB on a slow network

log = structlog.get_logger(__name__)


class Shares:
    """The shares of one deployment.

    Args:
        prefix: of the names that they are held under: of this deployment and model.
        network: whose weights they are.
        pool: the workers.
    """

    def __init__(self, prefix: str, network: Network, pool: Pool) -> None:
        self.prefix = prefix
        self._network = network
        self._pool = pool
        self._nodes = network.products[0].weight.layer.nodes
        self._at: dict[int, str] = {}  # node -> address of the worker that is it
        # Node -> connections of its link when its shares were put: more since, and they are lost.
        self._held: dict[int, int] = {}
        self._again_s: dict[int, float] = {}  # when to put a node's shares again that failed
        self._putting: dict[int, asyncio.Task[None]] = {}

    def name(self, layer: int, node: int) -> str:
        """What a share is held under."""
        return f"{self.prefix}{layer}/{node}"

    def ready(self) -> Mapping[int, MatrixWorker]:
        """The nodes that can be asked now; the others' shares are on their way from here on."""
        self._follow()
        ready = {}
        for node in self._held:
            link = self._link(node)
            if link is not None and node not in self._putting and self._trusts(link):
                ready[node] = MatrixWorker(link.address, channel=link.channel)
        return ready

    async def enough(self, wanted: int) -> Mapping[int, MatrixWorker]:
        """`ready`, once so many are or no more can be had."""
        while len(ready := self.ready()) < wanted and self._putting:
            await asyncio.wait(self._putting.values(), return_when="FIRST_COMPLETED")
        return ready

    def lost(self, node: int) -> None:
        """A node does not hold its shares any more."""
        self._held.pop(node, None)

    async def provide(self) -> None:
        """Put the shares at all workers that are up; returns when that is done."""
        self._follow()
        if self._putting:
            await asyncio.wait(self._putting.values())

    async def close(self) -> None:
        """Have the shares forgotten by workers that can be reached."""
        for task in self._putting.values():
            task.cancel()
        await asyncio.gather(*self._putting.values(), return_exceptions=True)
        links = [link for node in self._at if (link := self._link(node)) is not None]
        dropping = [
            MatrixWorker(link.address, channel=link.channel).drop(prefix=self.prefix)
            for link in links
        ]
        await asyncio.gather(*dropping, return_exceptions=True)

    def _follow(self) -> None:
        """Give free nodes to free workers, and every node's shares to its worker."""
        up = {a: link for a, link in self._pool.links.items() if link.state == "up"}
        free = [address for address in up if address not in self._at.values()]
        for node in range(self._nodes):
            if node in self._putting or monotonic() < self._again_s.get(node, 0.0):
                continue
            if self._at.get(node) not in up:
                self._held.pop(node, None)
                if not free:
                    continue
                self._at[node] = free.pop(0)
            link = up[self._at[node]]
            if self._held.get(node) != link.connections:
                self._held.pop(node, None)
                task = asyncio.create_task(self._put(node, link), name=f"share {node}")
                self._putting[node] = task
                task.add_done_callback(partial(self._put_ended, node))

    def _put_ended(self, node: int, task: "asyncio.Task[None]") -> None:
        del self._putting[node]

    async def _put(self, node: int, link: Link) -> None:
        """Put what is not held already, as after a master's restart it is."""
        connections = link.connections
        worker = MatrixWorker(link.address, channel=link.channel)
        try:
            status = await worker.status()
            held = {one.name: one.head for one in status.matrices if one.version == 0}
            for product in self._network.products:
                share = await asyncio.to_thread(product.weight.share, node)
                name = self.name(product.number, node)
                if held.get(name) != head_of(share):
                    await worker.put(Held(name), share, PUT_S)
        except KofnError as error:
            log.warning("share-not-put", worker=link.name, node=node, reason=str(error))
            self._again_s[node] = monotonic() + AGAIN_S
            return
        self._held[node] = connections

    def _link(self, node: int) -> Link | None:
        link = self._pool.links.get(self._at.get(node, ""))
        return link if link is not None and link.state == "up" else None

    def _trusts(self, link: Link) -> bool:
        return self._pool.trust.standing(link.address) != "quarantined"
