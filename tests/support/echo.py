"""A server that echoes, for what happens below any service: options, limits, TLS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from kofn.wire import channels
from kofn.wire.tls import Tls
from support.until import until

PATIENCE_S = 10.0


async def echo(request: bytes, context: object) -> bytes:
    """What came."""
    return request


async def wait(request: bytes, context: object) -> bytes:
    """Nothing, for longer than a test lasts."""
    await asyncio.wait_for(asyncio.Event().wait(), 20)
    return request


@asynccontextmanager
async def echoing(
    tls: Tls | None = None, message_bytes: int = channels.MESSAGE_BYTES
) -> AsyncIterator[str]:
    """A server that echoes; gives its address. Its calls have ended when it has."""
    before = asyncio.all_tasks()
    server = channels.server(message_bytes=message_bytes)
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.E", handlers),))
    port = channels.listen(server, "127.0.0.1:0", tls)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
        await until(lambda: asyncio.all_tasks() <= before)


async def ask(
    address: str,
    tls: Tls | None = None,
    message: bytes = b"hello",
    message_bytes: int = channels.MESSAGE_BYTES,
) -> bytes:
    """Ask for an echo."""
    async with channels.client_channel(address, tls, message_bytes) as channel:
        return await channel.unary_unary("/test.E/Echo")(message, timeout=PATIENCE_S)


def ask_blocking(address: str, tls: Tls | None = None, message: bytes = b"hello") -> bytes:
    """`ask`, on the blocking stack."""
    with channels.blocking_channel(address, tls) as channel:
        return channel.unary_unary("/test.E/Echo")(message, timeout=PATIENCE_S)
