"""The master's service of coded products: `kofn.matrices` over the workers that are up.

Operands lie in files while a product is made, not in memory. Who is quarantined for lies is no
node; who lies in a product is told to the pool, as of any result.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from time import monotonic
from typing import Any

import grpc
import structlog

from kofn.matrices.engine import Progress, multiply, plan
from kofn.matrices.remote import mapped_room, report_to_wire, wish_from_wire
from kofn.matrices.worker import MatrixWorker
from kofn.wire import matrices_pb2 as pb
from kofn.wire import matrices_pb2_grpc
from kofn.wire.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable
from kofn.wire.matrices import Array, Filling, chunks, dtype_of, head_of, take_in
from master.pool import Pool

AT_ONCE = 2  # products: each takes all workers
TOLD_EVERY_S = 0.5
LONGEST_S = 3600.0  # of a call without a deadline
BUSY = "busy"  # reason

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger(__name__)


class Products(matrices_pb2_grpc.ProductsServicer):  # type: ignore[misc]
    """The methods of `Products` in `protos/kofn/wire/matrices.proto`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._in_hand = 0

    async def Matmul(
        self, messages: AsyncIterator[pb.MatmulRequest], context: Context
    ) -> AsyncIterator[pb.MatmulReply]:
        """One product."""
        if self._in_hand >= AT_ONCE:
            raise ResourceExhausted(
                f"{AT_ONCE} products are being made already; try again later.", BUSY
            )
        self._in_hand += 1
        try:
            with ExitStack() as files:
                async for reply in self._made(messages, context, files):
                    yield reply
        finally:
            self._in_hand -= 1

    async def _made(
        self, messages: AsyncIterator[pb.MatmulRequest], context: Context, files: ExitStack
    ) -> AsyncIterator[pb.MatmulReply]:
        left_s = context.time_remaining()
        within_s = LONGEST_S if left_s is None else left_s
        began_s = monotonic()
        async with _in_time(within_s):
            told = await _first(messages)
        heads = (("A", told.a), ("B", told.b))
        for name, head in heads:
            if dtype_of(name, head).kind != "f":
                raise InvalidArgument(f"{name} must be FP32 or FP64, not {head.datatype}.")
        if told.a.datatype != told.b.datatype:
            raise InvalidArgument(
                f"A and B must be of one datatype, not {told.a.datatype} and {told.b.datatype}."
            )
        wish = wish_from_wire(told, within_s)
        code, workers = await plan(self._workers(), told.a, told.b, wish)
        rooms = [await asyncio.to_thread(_room, name, head, files) for name, head in heads]
        yield pb.MatmulReply(
            plan=pb.MatmulPlan(
                code=repr(code), nodes=code.nodes, node_threshold=code.node_threshold
            )
        )
        async with _in_time(began_s + within_s - monotonic()):
            a, b = await _received(messages, rooms)
        progress = Progress()
        making = asyncio.create_task(multiply(workers, a, b, code, wish, progress))
        try:
            while not making.done():
                await asyncio.wait({making}, timeout=TOLD_EVERY_S)
                yield pb.MatmulReply(progress=_told(progress))
            product, report = making.result()
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        for address in (*report.used, *report.liars):
            lied = address in report.liars
            self._pool.heard(address, lied=lied, needed=code.node_threshold)
        if report.liars:
            log.warning("products-wrong", workers=[self._pool.name(one) for one in report.liars])
        yield pb.MatmulReply(report=report_to_wire(report))
        yield pb.MatmulReply(head=head_of(product))
        for data in chunks(product):
            yield pb.MatmulReply(data=bytes(data))

    def _workers(self) -> list[MatrixWorker]:
        """Those that are up and not known to lie."""
        pool = self._pool
        up = [
            MatrixWorker(link.address, channel=link.channel)
            for link in pool.links.values()
            if link.state == "up" and pool.trust.standing(link.address) != "quarantined"
        ]
        if not up:
            raise Unavailable("No worker is up.")
        return up


@asynccontextmanager
async def _in_time(within_s: float) -> AsyncIterator[None]:
    """A caller that stops sending takes the place of others; raises DeadlineExceeded."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError:
        raise DeadlineExceeded("The operands did not come in time.") from None


async def _first(messages: AsyncIterator[pb.MatmulRequest]) -> pb.MatmulWish:
    async for message in messages:
        if message.HasField("wish"):
            return message.wish
        break
    raise InvalidArgument("The stream must open with 'wish'.")


def _room(name: str, head: pb.MatrixHead, files: ExitStack) -> Filling:
    """Where an operand goes; raises ResourceExhausted."""
    try:
        into = mapped_room(files, (head.rows, head.columns), dtype_of(name, head))
    except OSError as error:
        raise ResourceExhausted(f"The master has no room for {name}: {error.strerror}.") from error
    return Filling(name, head, into)


async def _received(
    messages: AsyncIterator[pb.MatmulRequest], fillings: Sequence[Filling]
) -> list[Array]:
    """Both operands, one after the other, into files: the disk may make a write wait."""
    async for message in messages:
        if not message.HasField("data"):
            raise InvalidArgument("Only bytes may follow the wish.")
        if await asyncio.to_thread(take_in, fillings, message.data):
            raise InvalidArgument("There must be no bytes after B.")
    for filling in fillings:
        filling.check_full()
    return [filling.array for filling in fillings]


def _told(progress: Progress) -> pb.MatmulProgress:
    return pb.MatmulProgress(
        sent=min(1.0, progress.sent),
        answered=progress.answered,
        failed=progress.failed,
        waiting=progress.waiting,
    )
