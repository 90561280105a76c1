"""The gRPC service of matrices: checks heads, gathers bytes, hands over to the device, sends back.

What is held and what is computed is decided in `matrices.py`; every answer with numbers in it is
subject to injected corruption (`matrix_faults.py`), as results of tasks are.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import numpy as np
import torch
from torch import Tensor

from kofn.wire import matrices_pb2 as pb
from kofn.wire import matrices_pb2_grpc
from kofn.wire.errors import InvalidArgument
from kofn.wire.matrices import DATATYPES, DTYPES, Array, chunks, omega
from kofn.wire.matrix_calls import Chunk
from worker.faults import Injector
from worker.incoming import Heads, Incoming
from worker.matrices import Block, Matrices, Step, product
from worker.matrix_faults import MatrixFaults
from worker.operations import Operation, Operations

LONGEST_NAME = 200
MOST_SKETCH_COLUMNS = 4096
SKETCHED_ELEMENTS = 2**20  # at once in double precision: a whole matrix would take its room again
MOST_US = 2**32 - 1
_TORCH = {np.dtype(d): torch.from_numpy(np.empty(0, d)).dtype for d in DTYPES.values()}
_NUMPY = {dtype: np.dtype(numpy) for numpy, dtype in _TORCH.items()}

Context = grpc.aio.ServicerContext[Any, Any]


class MatricesService(matrices_pb2_grpc.MatricesServicer):  # type: ignore[misc]
    """The methods of `Matrices` in `protos/kofn/wire/matrices.proto`.

    Args:
        name, device: of the worker.
        matrices: what it holds.
        operations: who runs what is asked.
    """

    def __init__(self, name: str, device: str, matrices: Matrices, operations: Operations) -> None:
        self._name = name
        self._device = torch.device(device)
        self._matrices = matrices
        self._operations = operations
        self._faults = MatrixFaults()

    async def GetStatus(
        self, request: pb.GetMatricesStatusRequest, context: Context
    ) -> pb.MatricesStatus:
        """What this worker may hold and holds."""
        held = sorted(self._matrices.blocks().items())
        return pb.MatricesStatus(
            worker=self._name,
            device=str(self._device),
            declared_bytes=self._matrices.declared_bytes,
            used_bytes=self._matrices.used_bytes,
            matrices=[_held(name, block) for name, block in held],
        )

    async def Put(
        self, messages: AsyncIterator[pb.PutMessage | Chunk], context: Context
    ) -> pb.HeldMatrix:
        """Hold a matrix."""
        async with Incoming(messages) as incoming:
            put = await incoming.first("put")
            _check_name(put.matrix.name)
            heads = [("A matrix", put.head)]
            with self._matrices.reserved(incoming.announce(heads)):
                (array,) = await incoming.matrices(heads)

                def work(operation: Operation, injector: Injector) -> pb.HeldMatrix:
                    ref, value = put.matrix, torch.from_numpy(array).to(self._device)
                    matrices = self._matrices
                    keep = matrices.put if ref.part == pb.VALUE else matrices.put_momentum
                    return _held(ref.name, keep(ref.name, ref.version, value))

                return (await self._operations.perform(0, work))[0]

    async def Get(
        self, request: pb.GetMatrixRequest, context: Context
    ) -> AsyncIterator[pb.MatrixMessage | Chunk]:
        """A matrix that is held, as it was when its turn on the device came."""

        def work(operation: Operation, injector: Injector) -> Array:
            copy = self._value(request.matrix).clone()
            return self._faults.told(request.seed, copy, injector)

        rows, columns, dtype = self._kind(request.matrix)
        with self._matrices.reserved(rows * columns * dtype.itemsize):
            array, queue_s, service_s = await self._operations.perform(request.seed, work)
            async for message in _told(array, queue_s, service_s):
                yield message

    async def Drop(self, request: pb.DropRequest, context: Context) -> pb.DropReply:
        """Forget matrices."""

        def work(operation: Operation, injector: Injector) -> pb.DropReply:
            self._matrices.drop(list(request.names), request.prefix)
            return pb.DropReply()

        return (await self._operations.perform(0, work))[0]

    async def Multiply(
        self, messages: AsyncIterator[pb.MultiplyMessage | Chunk], context: Context
    ) -> AsyncIterator[pb.MatrixMessage | Chunk]:
        """A product of two matrices, held or sent."""
        async with Incoming(messages) as incoming:
            request = await incoming.first("multiply")
            sides = (("left", request.left), ("right", request.right))
            for what, side in sides:
                if side.WhichOneof("operand") is None:
                    raise InvalidArgument(f"{what} must be held or sent.")
            if request.HasField("keep"):
                _check_name(request.keep.name)
            heads = [(what, side.sent) for what, side in sides if side.HasField("sent")]
            needed = incoming.announce(heads) + self._product_bytes(request)
            with self._matrices.reserved(needed):
                arrays = await incoming.matrices(heads)

                def work(operation: Operation, injector: Injector) -> Array | pb.MatrixHead:
                    come = self._placed(heads, arrays)
                    left, right = (
                        _turned(
                            come[what] if what in come else self._value(side.held), side.transpose
                        )
                        for what, side in sides
                    )
                    made = product(left, right, operation.is_wanted)
                    told = self._faults.told(request.seed, made, injector)
                    if not request.HasField("keep") or not operation.is_wanted():
                        return told
                    kept = torch.from_numpy(told).to(self._device)
                    self._matrices.put(request.keep.name, request.keep.version, kept)
                    return _head(kept)

                made, queue_s, service_s = await self._operations.perform(request.seed, work)
                async for message in _told(made, queue_s, service_s):
                    yield message

    async def Update(
        self, messages: AsyncIterator[pb.UpdateMessage | Chunk], context: Context
    ) -> pb.HeldMatrix:
        """Stage a step."""
        async with Incoming(messages) as incoming:
            request = await incoming.first("update")
            for what in ("rate", "momentum", "weight_decay"):
                if not np.isfinite(getattr(request, what)):
                    raise InvalidArgument(f"{what} must be finite.")
            heads = [("outputs", request.outputs), ("inputs", request.inputs)]
            needed = incoming.announce(heads) + self._momentum_bytes(request)
            with self._matrices.reserved(needed):
                arrays = await incoming.matrices(heads)

                def work(operation: Operation, injector: Injector) -> pb.HeldMatrix:
                    step = Step(
                        **self._placed(heads, arrays),
                        rate=request.rate,
                        momentum=request.momentum,
                        weight_decay=request.weight_decay,
                        wrong=lambda value: self._faults.left(request.seed, value, injector),
                        reserved_bytes=needed,
                    )
                    block = self._matrices.stage(request.name, request.step, step)
                    return _held(request.name, block)

                return (await self._operations.perform(request.seed, work))[0]

    async def Sketch(
        self, request: pb.SketchRequest, context: Context
    ) -> AsyncIterator[pb.MatrixMessage | Chunk]:
        """A few random combinations of a matrix's columns, in double precision."""
        if not 1 <= request.columns <= MOST_SKETCH_COLUMNS:
            raise InvalidArgument(
                f"columns must be in 1 .. {MOST_SKETCH_COLUMNS}, not {request.columns}."
            )

        def work(operation: Operation, injector: Injector) -> Array:
            value = self._value(request.matrix)
            noise = torch.from_numpy(omega(request.omega_seed, value.shape[1], request.columns))
            noise = noise.to(self._device)
            double = torch.complex128 if value.is_complex() else torch.float64
            panels = torch.split(value, max(1, SKETCHED_ELEMENTS // value.shape[1]))
            parts = [product(panel.to(double), noise, lambda: True) for panel in panels]
            return self._faults.told(request.seed, torch.cat(parts), injector)

        rows, columns, dtype = self._kind(request.matrix)
        entries = columns + (2 if dtype.is_complex else 1) * rows
        with self._matrices.reserved(8 * entries * request.columns):
            array, queue_s, service_s = await self._operations.perform(request.seed, work)
            async for message in _told(array, queue_s, service_s):
                yield message

    # On the device thread.

    def _value(self, ref: pb.MatrixRef) -> Tensor:
        block = self._matrices.at(ref.name, ref.version)
        if ref.part == pb.VALUE:
            return block.value
        return torch.zeros_like(block.value) if block.momentum is None else block.momentum

    def _placed(self, heads: Heads, arrays: Sequence[Array]) -> dict[str, Tensor]:
        """Operands that came along, on the device."""
        for (what, _), array in zip(heads, arrays, strict=True):
            if not np.isfinite(array).all():
                raise InvalidArgument(f"{what} must be finite.", "not-finite")
        placed = [torch.from_numpy(array).to(self._device) for array in arrays]
        return {what: tensor for (what, _), tensor in zip(heads, placed, strict=True)}

    # What calls will take, as far as it can be told before their turn comes.

    def _kind(self, ref: pb.MatrixRef) -> tuple[int, int, torch.dtype]:
        block = self._matrices.named(ref.name)
        return block.value.shape[0], block.value.shape[1], block.value.dtype

    def _product_bytes(self, request: pb.MultiplyRequest) -> int:
        kinds = []
        for side in (request.left, request.right):
            if side.HasField("held"):
                rows, columns, dtype = self._kind(side.held)
            else:
                head = side.sent
                rows, columns, dtype = head.rows, head.columns, _TORCH[DTYPES[head.datatype]]
            kinds.append((columns, rows, dtype) if side.transpose else (rows, columns, dtype))
        (rows, _, left), (_, columns, right) = kinds
        return int(rows * columns * torch.promote_types(left, right).itemsize)

    def _momentum_bytes(self, request: pb.UpdateRequest) -> int:
        """What a step's momentum will take that is not there yet."""
        block = self._matrices.named(request.name)
        return block.value.nbytes if block.momentum is None and request.momentum != 0 else 0


async def _told(
    made: Array | pb.MatrixHead, queue_s: float, service_s: float
) -> AsyncIterator[pb.MatrixMessage | Chunk]:
    """An answer, head first; a head alone is of a product that stays here."""
    is_kept = isinstance(made, pb.MatrixHead)
    answer = pb.MatrixAnswer(
        head=made if isinstance(made, pb.MatrixHead) else _head(made),
        queue_us=min(round(1e6 * queue_s), MOST_US),
        compute_us=min(round(1e6 * service_s), MOST_US),
        kept=is_kept,
    )
    yield pb.MatrixMessage(answer=answer)
    if not isinstance(made, pb.MatrixHead):
        for data in chunks(made):
            yield Chunk(data)


def _held(name: str, block: Block) -> pb.HeldMatrix:
    return pb.HeldMatrix(
        name=name,
        version=block.version,
        staged=block.staged is not None,
        head=_head(block.value),
        has_momentum=block.momentum is not None,
        bytes=block.size_bytes,
    )


def _head(matrix: Array | Tensor) -> pb.MatrixHead:
    dtype = matrix.dtype if isinstance(matrix, np.ndarray) else _NUMPY[matrix.dtype]
    rows, columns = matrix.shape
    return pb.MatrixHead(datatype=DATATYPES[dtype], rows=rows, columns=columns)


def _turned(value: Tensor, transpose: bool) -> Tensor:
    return value.T if transpose else value


def _check_name(name: str) -> None:
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidArgument(f"A matrix's name must have 1 to {LONGEST_NAME} letters.")
