"""Calls about matrices, as they are read: the request, then the bytes of matrices."""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any

from kofn.wire import matrices_pb2 as pb
from kofn.wire.errors import InvalidArgument, KofnError
from kofn.wire.matrices import Array, Filling, dtype_of, size_bytes, take_in
from kofn.wire.matrix_calls import Chunk

Heads = Sequence[tuple[str, pb.MatrixHead]]  # what errors call a matrix, and its head


class Incoming:
    """A stream of messages; within `async with`, a refusal is told when its sender can hear it.

    A status that reaches a caller in the midst of its writing is lost on grpc.aio: what was
    announced is read before an error goes out.
    """

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self._messages = messages
        self._announced_bytes = 0

    async def __aenter__(self) -> "Incoming":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, KofnError):
            return
        async for message in self._messages:
            taken = message.data.nbytes if isinstance(message, Chunk) else message.ByteSize()
            self._announced_bytes -= max(1, taken)
            if self._announced_bytes < 0:
                return

    async def first(self, kind: str) -> Any:
        """The request that opens the stream; raises InvalidArgument where it does not."""
        async for message in self._messages:
            if not isinstance(message, Chunk) and message.WhichOneof("message") == kind:
                return getattr(message, kind)
            break
        raise InvalidArgument(f"The stream must open with {kind!r}.")

    def announce(self, heads: Heads) -> int:
        """Check the heads of what will follow; gives its bytes. Raises InvalidArgument."""
        for what, head in heads:
            dtype_of(what, head)
        self._announced_bytes = sum(size_bytes(head) for _, head in heads)
        return self._announced_bytes

    async def matrices(self, heads: Heads) -> list[Array]:
        """The matrices that follow the request, one after the other; raises InvalidArgument."""
        fillings = [Filling(what, head) for what, head in heads]
        async for message in self._messages:
            if not isinstance(message, Chunk):
                raise InvalidArgument("Only bytes may follow the request.")
            self._announced_bytes -= message.data.nbytes
            if take_in(fillings, message.data):
                raise InvalidArgument("There must be no bytes after the last operand.")
        for filling in fillings:
            filling.check_full()
        return [filling.array for filling in fillings]
