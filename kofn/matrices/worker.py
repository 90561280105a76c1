"""One worker's service of matrices, as a caller sees it: calls have deadlines, errors are ours.

Matrices are sent as they are, or made while they are sent (`Made`), so that no whole share has to
be there at once. Who calls which workers, and what is done with their answers, is elsewhere.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import numpy as np

from kofn.wire import channels
from kofn.wire import matrices_pb2 as pb
from kofn.wire.errors import Internal, KofnError, from_rpc_error
from kofn.wire.matrices import DTYPES, Array, Filling, chunks, dtype_of, head_of
from kofn.wire.matrix_calls import Chunk, MatricesStub
from kofn.wire.tls import Tls

CALL_S = 5.0  # of calls that carry little


@dataclass(frozen=True)
class Held:
    """An operand that the worker holds."""

    name: str
    version: int = 0
    part: "pb.Part" = pb.VALUE
    transpose: bool = False

    def ref(self) -> pb.MatrixRef:
        """As it travels."""
        return pb.MatrixRef(name=self.name, version=self.version, part=self.part)


@dataclass(frozen=True)
class Made:
    """A matrix that is made while it is sent, perhaps more than once.

    Attributes:
        head: of it.
        pieces: gives its bytes from the beginning; slow, so that it runs in threads.
    """

    head: pb.MatrixHead
    pieces: Callable[[], Iterator[memoryview]]


Matrix = Array | Made


class Answer(NamedTuple):
    """What a worker said."""

    array: Array
    queue_s: float
    compute_s: float


class MatrixWorker:
    """The service `Matrices` of one worker.

    Args:
        address: "host:port".
        tls: None is plaintext.
        channel: an open one, which stays its owner's; None opens one at the first call.
    """

    def __init__(
        self, address: str, tls: Tls | None = None, channel: grpc.aio.Channel | None = None
    ) -> None:
        self.address = address
        self._owns = channel is None
        self._channel = channels.worker_channel(address, tls) if channel is None else channel
        self._stub: Any = MatricesStub(self._channel)

    async def close(self) -> None:
        """Close the channel, if it was opened here."""
        if self._owns:
            await self._channel.close(None)

    async def status(self, timeout_s: float = CALL_S) -> pb.MatricesStatus:
        """What the worker may hold and holds. Raises KofnError, as all of these do."""
        call = self._stub.GetStatus(pb.GetMatricesStatusRequest(), timeout=timeout_s)
        status: pb.MatricesStatus = await _answered(call)
        return status

    async def put(self, to: Held, matrix: Matrix, timeout_s: float) -> pb.HeldMatrix:
        """Have a matrix held."""
        first = pb.PutMessage(put=pb.PutMatrix(matrix=to.ref(), head=_head(matrix)))
        messages = _messages(first, [matrix])
        held: pb.HeldMatrix = await _answered(self._stub.Put(messages, timeout=timeout_s))
        return held

    async def get(self, what: Held, timeout_s: float, seed: int = 0) -> Answer:
        """A matrix that is held."""
        request = pb.GetMatrixRequest(matrix=what.ref(), seed=seed)
        return await _read(self._stub.Get(request, timeout=timeout_s))

    async def rows(self, what: Held, timeout_s: float, seed: int = 0) -> AsyncIterator[Array]:
        """A matrix that is held, some whole rows at a time, [rows, columns] each."""
        call = self._stub.Get(pb.GetMatrixRequest(matrix=what.ref(), seed=seed), timeout=timeout_s)
        try:
            head = (await _opened(call)).head
            dtype = DTYPES[head.datatype]
            row_bytes, left, come = head.columns * dtype.itemsize, b"", 0
            while isinstance(message := await call.read(), Chunk):  # else the end
                left += message.data
                whole = len(left) - len(left) % row_bytes
                if whole:
                    yield np.frombuffer(left[:whole], dtype).reshape(-1, head.columns)
                left, come = left[whole:], come + whole // row_bytes
            if left or come != head.rows:
                raise Internal("The worker's answer is not as long as it said.")
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    async def drop(
        self, names: Sequence[str] = (), prefix: str = "", timeout_s: float = CALL_S
    ) -> None:
        """Have matrices forgotten, by name or by how their names begin."""
        request = pb.DropRequest(names=names, prefix=prefix)
        await _answered(self._stub.Drop(request, timeout=timeout_s))

    async def multiply(
        self,
        left: Matrix | Held,
        right: Matrix | Held,
        timeout_s: float,
        *,
        seed: int = 0,
        keep: Held | None = None,
    ) -> Answer:
        """left @ right; where it is kept, what comes back is empty."""
        first = pb.MultiplyRequest(
            left=_operand(left),
            right=_operand(right),
            keep=None if keep is None else keep.ref(),
            seed=seed,
        )
        sent = [side for side in (left, right) if not isinstance(side, Held)]
        messages = _messages(pb.MultiplyMessage(multiply=first), sent)
        return await _read(self._stub.Multiply(messages, timeout=timeout_s))

    async def update(
        self, step: pb.UpdateRequest, outputs: Array, inputs: Array, timeout_s: float
    ) -> pb.HeldMatrix:
        """Stage a step; the heads of its factors are filled in here."""
        step.outputs.CopyFrom(head_of(outputs))
        step.inputs.CopyFrom(head_of(inputs))
        messages = _messages(pb.UpdateMessage(update=step), [outputs, inputs])
        held: pb.HeldMatrix = await _answered(self._stub.Update(messages, timeout=timeout_s))
        return held

    async def sketch(
        self, what: Held, omega_seed: int, columns: int, timeout_s: float, seed: int = 0
    ) -> Answer:
        """A matrix that is held times `kofn.wire.matrices.omega`, in double precision."""
        request = pb.SketchRequest(
            matrix=what.ref(), omega_seed=omega_seed, columns=columns, seed=seed
        )
        return await _read(self._stub.Sketch(request, timeout=timeout_s))


def _head(matrix: Matrix) -> pb.MatrixHead:
    return matrix.head if isinstance(matrix, Made) else head_of(matrix)


def _operand(side: Matrix | Held) -> pb.Operand:
    if isinstance(side, Held):
        return pb.Operand(held=side.ref(), transpose=side.transpose)
    return pb.Operand(sent=_head(side))


async def _messages(first: Any, matrices: Sequence[Matrix]) -> AsyncIterator[Any]:
    """A request, and then the bytes of what goes with it."""
    yield first
    for matrix in matrices:
        if isinstance(matrix, Made):
            pieces = matrix.pieces()
            while (data := await asyncio.to_thread(next, pieces, None)) is not None:
                yield Chunk(data)
        else:
            for data in chunks(matrix):
                yield Chunk(data)


async def _answered(call: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def _opened(call: Any) -> pb.MatrixAnswer:
    """The head of a matrix that comes back; a sound one."""
    first = await call.read()
    if not isinstance(first, pb.MatrixMessage) or not first.HasField("answer"):
        raise Internal("The worker's answer has no head.")
    dtype_of("An answer", first.answer.head)
    return first.answer


async def _read(call: Any) -> Answer:
    """A matrix that comes back, head first."""
    try:
        answer = await _opened(call)
        times = answer.queue_us / 1e6, answer.compute_us / 1e6
        if answer.kept:
            return Answer(np.empty((0, 0)), *times)
        filling = Filling("An answer", answer.head)
        while isinstance(message := await call.read(), Chunk):  # else the end
            if filling.take(message.data):
                raise Internal("The worker's answer is longer than it said.")
        filling.check_full()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    except KofnError:
        call.cancel()
        raise
    return Answer(filling.array, *times)
