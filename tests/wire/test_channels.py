"""Channels and servers: what the options are for, seen over real connections."""

import asyncio
import platform
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import grpc
import pytest

from kofn.wire import channels
from kofn.wire.channels import Tls
from kofn.wire.errors import Unavailable, from_rpc_error
from support.until import until

OPENSSL_S = 20.0
BIG = 20 * 2**20  # bytes; gRPC's own limit is 4 MiB


async def echo(request: bytes, context: object) -> bytes:
    return request


async def wait(request: bytes, context: object) -> bytes:
    await asyncio.wait_for(asyncio.Event().wait(), 20)
    return request


@asynccontextmanager
async def echoing(tls: Tls | None = None) -> AsyncIterator[str]:
    """A server that echoes; gives its address. Its calls have ended when it has."""
    before = asyncio.all_tasks()
    server = channels.server()
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


async def ask(address: str, tls: Tls | None = None, message: bytes = b"hello") -> bytes:
    async with channels.client_channel(address, tls) as channel:
        return await channel.unary_unary("/test.E/Echo")(message, timeout=5)


def ask_blocking(address: str, tls: Tls | None = None, message: bytes = b"hello") -> bytes:
    with channels.blocking_channel(address, tls) as channel:
        return channel.unary_unary("/test.E/Echo")(message, timeout=5)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tls]:
    """A server's and a client's certificates by one authority, and a client's by another."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=OPENSSL_S
        )

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for authority in ("ours", "theirs"):
        openssl(
            *("req", "-x509", *new_key, "-keyout", f"{authority}.key", "-out", f"{authority}.pem"),
            *("-subj", f"/CN={authority}", "-days", "2"),
        )
    for name, authority in (("master", "ours"), ("client", "ours"), ("stranger", "theirs")):
        openssl(
            *("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-days", "2"),
            *("-CAkey", f"{authority}.key", "-CAcreateserial", "-copy_extensions", "copy"),
            *("-out", f"{name}.pem"),
        )

    def tls(name: str, authority: str | None, peer_name: str | None = None) -> Tls:
        return Tls(
            certificate=folder / f"{name}.pem",
            key=folder / f"{name}.key",
            authority=folder / f"{authority}.pem" if authority else None,
            peer_name=peer_name,
        )

    return {
        "server": tls("master", None),
        "mutual": tls("master", "ours"),
        "anonymous": Tls(authority=folder / "ours.pem", peer_name="master"),
        "client": tls("client", "ours", "master"),
        "stranger": tls("stranger", "ours", "master"),
        "misled": Tls(authority=folder / "ours.pem", peer_name="someone-else"),
        "distrustful": Tls(authority=folder / "theirs.pem", peer_name="master"),
    }


@pytest.mark.parametrize("message", [b"", bytes(BIG)])
async def test_large_messages_pass(message: bytes) -> None:
    async with echoing() as address:
        assert await ask(address, message=message) == message
        assert await asyncio.to_thread(ask_blocking, address, message=message) == message


async def test_a_message_over_the_limit_is_refused() -> None:
    async with echoing() as address:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(address, message=bytes(channels.MESSAGE_BYTES + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_two_servers_cannot_share_a_port() -> None:
    async with echoing() as address:
        second = channels.server()
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            channels.listen(second, address)
        await second.stop(None)


@pytest.mark.parametrize("make", [channels.client_channel, channels.worker_channel])
async def test_a_peer_that_stopped_is_missed_within_seconds(
    make: Callable[[str], grpc.aio.Channel], start_peer: Callable[..., Awaitable[str]]
) -> None:
    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):  # nothing comes back, not even answers to pings
            pass

    address = await start_peer(freeze)
    began = monotonic()
    async with make(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/a/b")(b"", timeout=15)
    assert isinstance(from_rpc_error(caught.value), Unavailable)
    assert monotonic() - began < 8  # about 2 s on an idle machine; the default is 61 s


async def test_pings_without_data_are_let_through() -> None:
    """A server that counts them as an attack hangs up on a waiting caller after 5 s."""
    async with echoing() as address, channels.worker_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.E/Wait")(b"", timeout=6.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_tls_hides_and_names_the_server(certificates: dict[str, Tls]) -> None:
    async with echoing(certificates["server"]) as address:
        assert await ask(address, certificates["anonymous"]) == b"hello"
        blocking = asyncio.to_thread(ask_blocking, address, certificates["anonymous"])
        assert await blocking == b"hello"
        for refused in (None, certificates["misled"], certificates["distrustful"]):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(address, refused)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_knows_its_clients(certificates: dict[str, Tls]) -> None:
    async with echoing(certificates["mutual"]) as address:
        assert await ask(address, certificates["client"]) == b"hello"
        for refused in (None, certificates["anonymous"], certificates["stranger"]):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(address, refused)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_tls_needs_a_key_with_its_certificate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'certificate' and 'key' together"):
        Tls(certificate=tmp_path / "a.pem")
    with pytest.raises(ValueError, match="'certificate' and 'key' together"):
        Tls(key=tmp_path / "a.key")


async def test_a_server_needs_a_certificate(tmp_path: Path) -> None:
    server = channels.server()
    with pytest.raises(ValueError, match="needs 'certificate' and 'key'"):
        channels.listen(server, "127.0.0.1:0", Tls(authority=tmp_path / "a.pem"))
    await server.stop(None)


def test_malloc_is_left_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert channels.tune_malloc() is False
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    assert channels.tune_malloc() is (platform.libc_ver()[0] == "glibc")
