"""Peers that speak just enough HTTP/2 to misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Settings and their acknowledgement: from here on the client counts the connection as made.
GREETING = b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0"
GONE_S = 5.0


@pytest.fixture
async def start_peer() -> AsyncIterator[Callable[[Conversation], Awaitable[str]]]:
    """Starts a peer that greets each caller, then does as told; gives its address."""
    servers: list[asyncio.Server] = []
    talking: set[asyncio.Task[None]] = set()

    async def start(conversation: Conversation) -> str:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            talking.add(task)
            writer.write(GREETING)
            await conversation(reader, writer)
            writer.close()

        servers.append(await asyncio.start_server(accept, "127.0.0.1", 0))
        return f"127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    if talking:  # callers have closed their channels, so every conversation ends by itself
        _, left = await asyncio.wait(talking, timeout=GONE_S)
        assert not left
