"""The service of a node, and the others' services as a node asks for them."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import grpc
import numpy as np

from kofn.wire import channels, nodes_pb2_grpc
from kofn.wire import nodes_pb2 as pb
from kofn.wire.errors import FailedPrecondition, InvalidArgument
from kofn.wire.matrices import DATATYPES, DTYPES
from kofn.wire.tls import Tls
from training.coded.nodes import Array, Part
from training.coded.peer_node import PeerNode
from training.coded.peers import Factors, Gone, Key, Phase, Standing

RESULT_S = 30.0  # that a peer is waited for, until it has come to a moment
CALL_S = 10.0
MOVE_S = 120.0  # of a whole block
START_S = 120.0  # that peers are waited for at the beginning

if TYPE_CHECKING:  # generic in its stubs only
    _Context = grpc.aio.ServicerContext[Any, Any]
else:
    _Context = grpc.aio.ServicerContext


class NodeService(nodes_pb2_grpc.NodeServicer):  # type: ignore[misc]
    """The methods of `protos/kofn/wire/nodes.proto`."""

    def __init__(self, node: PeerNode) -> None:
        self._node = node

    async def Result(self, request: pb.ResultRequest, context: "_Context") -> pb.Values:
        """A share of what all need."""
        if request.phase not in ("forward", "backward", "verify", "scrub"):
            raise InvalidArgument(f"There is no phase {request.phase[:80]!r}.")
        key = Key(request.step, cast(Phase, request.phase), request.layer, _part(request.part))
        try:
            return _to_wire(await self._node.result(key, request.attempt))
        except Gone as error:
            raise _gone() from error

    async def Standing(self, request: pb.StandingRequest, context: "_Context") -> pb.StandingReply:
        """How far this node is."""
        found = self._node.state.standing()
        return pb.StandingReply(step=found.step, checkpoints=found.checkpoints, oldest=found.oldest)

    async def Factors(self, request: pb.FactorsRequest, context: "_Context") -> pb.FactorsReply:
        """Of the gradients of a step."""
        try:
            found = self._node.state.factors(request.step)
        except Gone as error:
            raise _gone() from error
        return pb.FactorsReply(
            activations=[_to_wire(one.activation) for one in found],
            signals=[_to_wire(one.signal) for one in found],
        )

    async def Strips(
        self, request: pb.StripsRequest, context: "_Context"
    ) -> AsyncIterator[pb.Values]:
        """A copy of a block."""
        if request.layer >= len(self._node.state.blocks):
            raise InvalidArgument(f"There is no layer {request.layer}.")
        try:
            strips = self._node.state.strips(request.layer, _part(request.part), request.checkpoint)
        except Gone as error:
            raise _gone() from error
        for rows in strips:
            yield _to_wire(rows)


class RemotePeers:
    """`Peers` over gRPC.

    Args:
        addresses: "host:port" of every node, by number.
        start_s: that one which does not listen yet is waited for, once.
        tls: None is plaintext.
    """

    def __init__(
        self, addresses: Sequence[str], start_s: float = START_S, tls: Tls | None = None
    ) -> None:
        self._channels = [channels.worker_channel(address, tls) for address in addresses]
        self._stubs: list[Any] = [nodes_pb2_grpc.NodeStub(channel) for channel in self._channels]
        self._start_s = [start_s] * len(addresses)  # of each; 0 from its first call on

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels:
            await channel.close(None)

    async def result(self, peer: int, key: Key, attempt: int) -> Array:
        """See `Peers`."""
        request = pb.ResultRequest(
            step=key.step, phase=key.phase, layer=key.layer, part=key.part, attempt=attempt
        )
        return _from_wire(await _answered(self._stubs[peer].Result(request, timeout=RESULT_S)))

    async def standing(self, peer: int) -> Standing:
        """See `Peers`; the first time, one that is not there yet is waited for."""
        start_s, self._start_s[peer] = self._start_s[peer], 0.0
        call = self._stubs[peer].Standing(
            pb.StandingRequest(), timeout=start_s or CALL_S, wait_for_ready=start_s > 0
        )
        found = await _answered(call)
        return Standing(found.step, tuple(found.checkpoints), found.oldest)

    async def factors(self, peer: int, step: int) -> list[Factors]:
        """See `Peers`."""
        call = self._stubs[peer].Factors(pb.FactorsRequest(step=step), timeout=CALL_S)
        found = await _answered(call)
        return [
            Factors(_from_wire(activation), _from_wire(signal))
            for activation, signal in zip(found.activations, found.signals, strict=True)
        ]

    async def strips(
        self, peer: int, layer: int, part: Part, checkpoint: int
    ) -> AsyncIterator[Array]:
        """See `Peers`."""
        request = pb.StripsRequest(layer=layer, part=part, checkpoint=checkpoint)
        try:
            async for values in self._stubs[peer].Strips(request, timeout=MOVE_S):
                yield _from_wire(values)
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from error


async def _answered(call: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise _lost(error) from error


def _lost(error: grpc.aio.AioRpcError) -> Exception:
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return Gone(error.details())
    return ConnectionError(f"{error.code().name}: {error.details()}")


def _gone() -> FailedPrecondition:
    return FailedPrecondition("The training has gone on.", "gone")


def _part(text: str) -> Part:
    if text not in ("weight", "velocity"):
        raise InvalidArgument(f"part must be weight or velocity, not {text[:80]!r}.")
    return cast(Part, text)


def _to_wire(array: Array) -> pb.Values:
    rows, columns = array.shape
    return pb.Values(
        datatype=DATATYPES[array.dtype],
        rows=rows,
        columns=columns,
        data=np.ascontiguousarray(array).tobytes(),
    )


def _from_wire(values: pb.Values) -> Array:
    """Raises ConnectionError for what makes no sense: the peer is as good as lost."""
    dtype = DTYPES.get(values.datatype)
    if dtype is None or len(values.data) != values.rows * values.columns * dtype.itemsize:
        raise ConnectionError("The peer's answer makes no sense.")
    return np.frombuffer(values.data, dtype).reshape(values.rows, values.columns)
