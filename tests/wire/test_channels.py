"""Channels and servers: what the options are for, seen over real connections."""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from time import monotonic

import grpc
import pytest

from kofn.wire import channels
from kofn.wire.errors import ResourceExhausted, Unavailable, from_rpc_error
from support.echo import ask, ask_blocking, echoing

BIG = 20 * 2**20  # bytes; gRPC's own limit is 4 MiB


@pytest.mark.parametrize("message", [b"", bytes(BIG)])
async def test_large_messages_pass(message: bytes) -> None:
    async with echoing() as address:
        assert await ask(address, message=message) == message
        assert await asyncio.to_thread(ask_blocking, address, message=message) == message


async def test_a_message_over_the_limit_is_refused() -> None:
    async with echoing() as address:
        for blocking in (False, True):
            asking = (
                asyncio.to_thread(ask_blocking, address, message=bytes(channels.MESSAGE_BYTES + 1))
                if blocking
                else ask(address, message=bytes(channels.MESSAGE_BYTES + 1))
            )
            with pytest.raises(grpc.RpcError) as caught:
                await asking
            assert isinstance(from_rpc_error(caught.value), ResourceExhausted)


@pytest.mark.parametrize(
    ("server_bytes", "client_bytes"), [(64 * 2**20, BIG), (BIG, 64 * 2**20)], ids=["ours", "its"]
)
async def test_the_limit_is_a_setting_of_each_side(server_bytes: int, client_bytes: int) -> None:
    async with echoing(message_bytes=server_bytes) as address:
        assert await ask(address, message=bytes(BIG - 1000), message_bytes=client_bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(address, message=bytes(BIG + 1000), message_bytes=client_bytes)
    assert isinstance(from_rpc_error(caught.value), ResourceExhausted)
    assert "max_message_mb" in str(from_rpc_error(caught.value))


async def test_two_servers_cannot_share_a_port() -> None:
    async with echoing() as address:
        second = channels.server()
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            channels.listen(second, address)
        await second.stop(None)


@pytest.mark.parametrize(
    ("make", "least_s", "most_s"),
    [(channels.client_channel, 3.0, 15.0), (channels.worker_channel, 0.0, 8.0)],
)  # about 6 s and 1.5 s on an idle machine; the default is 61 s
async def test_a_peer_that_stopped_is_missed_within_seconds(
    make: Callable[[str], grpc.aio.Channel],
    least_s: float,
    most_s: float,
    start_peer: Callable[..., Awaitable[str]],
) -> None:
    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):  # nothing comes back, not even answers to pings
            pass

    address = await start_peer(freeze)
    began = monotonic()
    async with make(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/a/b")(b"", timeout=25)
    assert isinstance(from_rpc_error(caught.value), Unavailable)
    assert least_s < monotonic() - began < most_s


async def test_pings_without_data_are_let_through() -> None:
    """A server that counts them as an attack hangs up on a waiting caller after 5 s."""
    async with echoing() as address, channels.worker_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.E/Wait")(b"", timeout=6.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_malloc_is_left_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert channels.tune_malloc() is False
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    assert channels.tune_malloc() is (platform.libc_ver()[0] == "glibc")
