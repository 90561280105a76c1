"""A node, running: its service on one port, and its training beside it."""

import asyncio
from collections.abc import Sequence

import structlog

from kofn.wire import channels, nodes_pb2_grpc
from kofn.wire.serving import ErrorInterceptor
from kofn.wire.tls import Tls
from nodes.wire import NodeService, RemotePeers
from training.coded.local import NO_FAULTS, Rates
from training.coded.peer_node import PeerNode
from training.coded.peer_plan import Plan

log = structlog.get_logger(__name__)


class NodeServer:
    """One node; `async with` starts it, and it trains until it is done, and serves until the end.

    Args:
        number: of this node.
        plan: that all nodes share.
        addresses: "host:port" of all nodes; this one listens at its own.
        rates: of faults of its own; seed: of these.
        tls: of this node, to listen and to dial with; None is plaintext.

    Attributes:
        node: what it is; training: ends when it has done all steps, or raises what kept it from it.

    Raises (on entry):
        OSError: its port is taken.
    """

    def __init__(
        self,
        number: int,
        plan: Plan,
        addresses: Sequence[str],
        rates: Rates = NO_FAULTS,
        seed: int = 0,
        tls: Tls | None = None,
    ) -> None:
        self._tls = tls
        self._address = addresses[number]
        self._addresses = addresses
        self._about = number, plan, rates, seed
        self.node: PeerNode
        self.training: asyncio.Task[None]

    async def __aenter__(self) -> "NodeServer":
        number, plan, rates, seed = self._about
        self._peers = RemotePeers(self._addresses, tls=self._tls)
        self.node = PeerNode(number, plan, self._peers, rates, seed)
        self._server = channels.server([ErrorInterceptor()])
        nodes_pb2_grpc.add_NodeServicer_to_server(NodeService(self.node), self._server)
        try:
            channels.listen(self._server, self._address, self._tls)
            await self._server.start()
        except BaseException:
            await self._server.stop(None)
            await self._peers.close()
            raise
        log.info("node-serving", node=number, address=self._address)
        self.training = asyncio.create_task(self.node.run(), name=f"node {number}")
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.training.cancel()
        await asyncio.gather(self.training, return_exceptions=True)
        await self._server.stop(None)
        await self._peers.close()
