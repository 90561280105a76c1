"""A coded product that a master makes: operands go to it in chunks, C comes back in chunks.

The wish goes first and is refused or planned by the master before any bytes are sent.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np

from kofn.matrices.engine import Progress, Report, Wish
from kofn.matrices.shares import check_finite
from kofn.wire import matrices_pb2 as pb
from kofn.wire import matrices_pb2_grpc
from kofn.wire.errors import Internal, from_rpc_error
from kofn.wire.matrices import Array, Filling, chunks, dtype_of, head_of

Room = Callable[[tuple[int, int], "np.dtype[Any]"], Array]  # makes an array for C


def wish_to_wire(wish: Wish, a: pb.MatrixHead, b: pb.MatrixHead) -> pb.MatmulWish:
    """As a master hears it; its deadline is the call's."""
    m, p, n = wish.grid or (0, 0, 0)
    return pb.MatmulWish(
        a=a, b=b, blocks_m=m, blocks_p=p, blocks_n=n, family=wish.family, spares=wish.spares,
        max_error=wish.max_error or 0.0,
    )  # fmt: skip


def wish_from_wire(told: pb.MatmulWish, timeout_s: float) -> Wish:
    """What a caller asked for."""
    grid = (told.blocks_m, told.blocks_p, told.blocks_n)
    return Wish(
        grid=grid if any(grid) else None,
        family=told.family or "auto",
        spares=told.spares,
        max_error=told.max_error or None,
        timeout_s=timeout_s,
    )


def report_to_wire(report: Report) -> pb.MatmulReport:
    """What is told of a product."""
    return pb.MatmulReport(
        code=repr(report.code),
        estimate=report.estimate,
        used=report.used,
        liars=report.liars,
        failed=report.failures,
        checked=report.checked,
        wait_s=report.wait_s,
        decode_s=report.decode_s,
    )


async def multiply_at(
    channel: grpc.aio.Channel, a: Array, b: Array, wish: Wish, room: Room, progress: Progress
) -> tuple[Array, pb.MatmulReport]:
    """C = A B by a master over its workers.

    Args:
        channel: to the master.
        a, b: float32 or float64; may be mapped files.
        wish: how; its seed is not sent.
        room: makes the array that C is written into.
        progress: is kept up to date.

    Raises:
        KofnError: as of `engine.plan` and `engine.multiply`, and of a master that leaves.
    """
    for name, matrix in (("A", a), ("B", b)):
        await asyncio.to_thread(check_finite, name, matrix)
    is_planned: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def messages() -> AsyncIterator[pb.MatmulRequest]:
        yield pb.MatmulRequest(wish=wish_to_wire(wish, head_of(a), head_of(b)))
        for matrix in (a, b) if await is_planned else ():
            for data in chunks(matrix):
                yield pb.MatmulRequest(data=bytes(data))

    stub: Any = matrices_pb2_grpc.ProductsStub(channel)
    call = stub.Matmul(messages(), timeout=wish.timeout_s)
    report, filling = pb.MatmulReport(), None
    try:
        while isinstance(message := await call.read(), pb.MatmulReply):
            match message.WhichOneof("message"):
                case "plan":
                    progress.nodes = message.plan.nodes
                    progress.needed = message.plan.node_threshold
                    is_planned.set_result(True)
                case "progress":
                    _follow(progress, message.progress)
                case "report":
                    report = message.report
                case "head":
                    dtype = dtype_of("The product", message.head)
                    into = room((message.head.rows, message.head.columns), dtype)
                    filling = Filling("The product", message.head, into)
                case "data" if filling is not None:
                    filling.take(message.data)
        if filling is None:
            raise Internal("The master's answer has no product.")
        filling.check_full()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        if not is_planned.done():
            is_planned.set_result(False)
        call.cancel()
    return filling.array, report


def _follow(progress: Progress, told: pb.MatmulProgress) -> None:
    progress.told_sent = told.sent
    progress.answered, progress.failed = told.answered, told.failed
    progress.waiting = told.waiting


def mapped_room(
    stack: ExitStack, shape: tuple[int, int], dtype: "np.dtype[Any]", folder: str | None = None
) -> Array:
    """An array in a file of its own that goes with the stack, so that memory is not needed for it.

    Raises:
        OSError: the disk has no room for it. Found out now: a page that cannot be written later
            would end the process.
    """
    file = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - it is one
    reserve(file.fileno(), shape[0] * shape[1] * dtype.itemsize)
    return np.memmap(file, dtype, "r+", shape=shape)


def reserve(descriptor: int, size_bytes: int) -> None:
    """Give a file its room on the disk; raises OSError where there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
    else:
        os.truncate(descriptor, size_bytes)
