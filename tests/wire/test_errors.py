"""Errors over real gRPC: each class, its status and its reason arrive as they were raised."""

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from kofn.wire import channels
from kofn.wire.errors import (
    CONNECTION_LOST,
    NOT_CONNECTED,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    KofnError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    from_rpc_error,
    from_status,
)
from kofn.wire.serving import ErrorInterceptor
from support.until import until

CLASSES = [
    InvalidArgument,
    NotFound,
    FailedPrecondition,
    ResourceExhausted,
    DeadlineExceeded,
    Unavailable,
    Cancelled,
    Internal,
    Unimplemented,
    Unauthenticated,
    PermissionDenied,
]
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
SERVICE = "test.Raising"


class Raising:
    """A service whose four methods do what `act` does, then echo the bytes they were sent."""

    def __init__(self) -> None:
        self.act: Callable[[Any], Any] = self._nothing
        self.cancelled = asyncio.Event()

    async def _nothing(self, context: Any) -> None:
        return None

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        await self.act(context)
        return request

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        received = [request async for request in requests]
        await self.act(context)
        return b"".join(received)

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        await self.act(context)

    async def stream_stream(
        self, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
        await self.act(context)

    async def writing(self, request: bytes, context: Any) -> None:
        await context.write(request)
        await self.act(context)


@pytest.fixture
async def raising() -> AsyncIterator[Raising]:
    """The service, listening; `.channel` leads to it. Its calls have ended when it has."""
    before = asyncio.all_tasks()
    service = Raising()
    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(service, kind)) for kind in KINDS
    }
    handlers["writing"] = grpc.unary_stream_rpc_method_handler(service.writing)
    server = channels.server([ErrorInterceptor()])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = channels.listen(server, "127.0.0.1:0")
    await server.start()
    try:
        async with channels.client_channel(f"127.0.0.1:{port}") as service.channel:
            yield service
    finally:
        await server.stop(None)
        await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})


async def call(service: Raising, kind: str, timeout_s: float = 5.0) -> list[bytes]:
    """What a method of that kind replies to b"ab", in pieces."""
    shape = "unary_stream" if kind == "writing" else kind
    method = getattr(service.channel, shape)(f"/{SERVICE}/{kind}")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    calling = method(pieces() if shape.startswith("stream") else b"ab", timeout=timeout_s)
    if shape.endswith("stream"):
        return [piece async for piece in calling]
    return [await calling]


async def failure(service: Raising, kind: str, timeout_s: float = 5.0) -> KofnError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(service, kind, timeout_s)
    return from_rpc_error(caught.value)


def raises(error: BaseException) -> Callable[[Any], Any]:
    async def act(context: Any) -> None:
        raise error

    return act


@pytest.mark.parametrize("kind", [*KINDS, "writing"])
async def test_what_does_not_fail_is_left_alone(raising: Raising, kind: str) -> None:
    assert b"".join(await call(raising, kind)) == b"ab"


@pytest.mark.parametrize("kind", [*KINDS, "writing"])
async def test_our_errors_arrive_as_they_were_raised(raising: Raising, kind: str) -> None:
    for error_class in CLASSES:
        raising.act = raises(error_class(f"räson of {error_class.__name__}", "some-reason"))
        error = await failure(raising, kind)
        assert type(error) is error_class
        assert str(error) == f"räson of {error_class.__name__}"
        assert error.reason == "some-reason"
        assert error.status is error_class.default_status


@pytest.mark.parametrize("kind", [*KINDS, "writing"])
async def test_an_unexpected_error_tells_the_log_and_not_the_client(
    raising: Raising, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    raising.act = raises(ZeroDivisionError("secret"))
    with caplog.at_level(logging.ERROR, "kofn.wire.serving"):
        error = await failure(raising, kind)
    assert type(error) is Internal
    assert "secret" not in str(error)
    [record] = [record for record in caplog.records if record.name == "kofn.wire.serving"]
    assert record.getMessage() == f"/{SERVICE}/{kind} failed unexpectedly"
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancellation_from_inside_does_not_leave_the_client_waiting(
    raising: Raising, kind: str
) -> None:
    raising.act = raises(asyncio.CancelledError())
    assert type(await failure(raising, kind)) is Internal


@pytest.mark.parametrize("kind", [*KINDS, "writing"])
async def test_the_deadline_cancels_the_method(raising: Raising, kind: str) -> None:
    async def wait(context: Any) -> None:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 10)
        except asyncio.CancelledError:
            raising.cancelled.set()
            raise

    raising.act = wait
    assert type(await failure(raising, kind, timeout_s=0.1)) is DeadlineExceeded
    await asyncio.wait_for(raising.cancelled.wait(), 2)


async def test_a_status_that_the_method_chose_itself_stays(
    raising: Raising, caplog: pytest.LogCaptureFixture
) -> None:
    async def abort(context: Any) -> None:
        await context.abort(grpc.StatusCode.ALREADY_EXISTS, "twice")

    raising.act = abort
    error = await failure(raising, "unary_unary")
    assert type(error) is KofnError
    assert (error.status, str(error)) == (grpc.StatusCode.ALREADY_EXISTS, "twice")
    assert error.reason == "already-exists"
    assert not caplog.records


@pytest.mark.parametrize("letter", ["x", "%", "ä", "\n", "𝕏"])
async def test_a_message_too_long_for_metadata_is_cut(raising: Raising, letter: str) -> None:
    raising.act = raises(InvalidArgument(letter * 30_000))
    error = await failure(raising, "unary_unary")
    assert type(error) is InvalidArgument
    assert str(error).startswith(letter * 100)
    assert str(error).endswith(" ...")


async def test_an_unknown_method_is_unimplemented(raising: Raising) -> None:
    method = raising.channel.unary_unary(f"/{SERVICE}/nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(b"", timeout=5)
    assert type(from_rpc_error(caught.value)) is Unimplemented


async def test_nobody_there_is_not_connected(raising: Raising) -> None:
    async with channels.client_channel("127.0.0.1:1") as channel:  # a port nobody listens on
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/a/b")(b"", timeout=5)
    error = from_rpc_error(caught.value)
    assert (type(error), error.reason) == (Unavailable, NOT_CONNECTED)

    def blocking() -> grpc.RpcError:
        with (
            channels.blocking_channel("127.0.0.1:1") as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            channel.unary_unary("/a/b")(b"", timeout=5)
        return caught.value

    error = from_rpc_error(await asyncio.to_thread(blocking))
    assert (type(error), error.reason) == (Unavailable, NOT_CONNECTED)


async def test_a_connection_that_broke_on_the_way_is_lost(
    start_peer: Callable[..., Awaitable[str]],
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"/a/b" not in (seen := await reader.read(1000)) and seen:
            pass

    async with channels.worker_channel(await start_peer(hang_up)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/a/b")(b"", timeout=5)
    error = from_rpc_error(caught.value)
    assert (type(error), error.reason) == (Unavailable, CONNECTION_LOST)


def test_an_error_of_no_call_is_unknown() -> None:
    error = from_rpc_error(grpc.RpcError("odd"))
    assert (type(error), str(error)) == (KofnError, "odd")


@pytest.mark.parametrize("error_class", CLASSES)
def test_a_status_gives_its_class_by_name_and_by_number(error_class: type[KofnError]) -> None:
    status = error_class.default_status
    assert type(from_status(status, "m")) is error_class
    assert type(from_status(status.value[0], "m")) is error_class
    assert from_status(status, "m").reason == status.name.lower().replace("_", "-")


def test_every_status_has_an_error_of_that_status() -> None:
    for status in grpc.StatusCode:
        assert from_status(status, "m").status is status
    assert from_status(99, "m").status is grpc.StatusCode.UNKNOWN


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(Unavailable("leaving", "draining")))
    assert (type(error), str(error), error.reason) == (Unavailable, "leaving", "draining")


def test_malformed_input_is_a_value_error_too() -> None:
    assert issubclass(InvalidArgument, ValueError)
