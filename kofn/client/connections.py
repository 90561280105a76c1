"""How a client makes its calls, on each of gRPC's stacks: deadlines, repetition, errors, closing.

A connection holds its channels and their stubs. Which calls may be made again is decided in
`calls`.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import grpc

from kofn.client.calls import Call, Retry
from kofn.wire import access, channels, control_pb2_grpc, inference_pb2_grpc
from kofn.wire.errors import Cancelled, from_rpc_error
from kofn.wire.tls import Tls

T = TypeVar("T")

CLOSED = "the client is closed"


@dataclass(frozen=True)
class Place:
    """Where a master is, and how it is spoken to.

    Attributes:
        target: "host:port", or any name that gRPC resolves.
        control: the same of its control service.
        tls: None is plain text.
        token: shown to the control service, and to no other.
        message_bytes: of the largest message, either way.
    """

    target: str
    control: str
    tls: Tls | None
    token: str | None
    message_bytes: int

    @property
    def metadata(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """What goes with every call, by service."""
        token = () if self.token is None else ((access.KEY, access.bearer(self.token)),)
        return {"inference": (), "control": token}


class AioConnection:
    """A connection of `grpc.aio`; made inside a running event loop."""

    def __init__(self, place: Place, retry: Retry) -> None:
        asyncio.get_running_loop()  # grpc.aio would take or make another one, and hang
        self._retry = retry
        self._channels = [
            channels.client_channel(target, place.tls, place.message_bytes)
            for target in dict.fromkeys((place.target, place.control))
        ]
        self.stubs = _stubs(self._channels[0], self._channels[-1])
        self.metadata = place.metadata
        self._closed = asyncio.Event()  # set once, by close(); cuts pauses short

    async def close(self) -> None:
        """End the connection; calls in flight raise Cancelled."""
        self._closed.set()
        for channel in self._channels:
            await channel.close(None)

    async def make(self, call: Call[T], end: float) -> T:
        """Make a call, again where that is safe, until `end` on the monotonic clock."""
        method = getattr(self.stubs[call.service], call.method)
        metadata = self.metadata[call.service]
        failed = 0
        while True:
            self.check_open()
            left_s = max(0.0, end - monotonic())
            try:
                message = call.message(left_s)
                return call.parse(await method(message, timeout=left_s, metadata=metadata))
            except grpc.aio.AioRpcError as caught:
                failed += 1
                error = from_rpc_error(caught)
                pause_s = self._retry.pause_s(failed, end - monotonic())
                if pause_s is None or not call.may_repeat(error):
                    raise error from caught
            except asyncio.CancelledError as cancelled:
                self._tell_closed(cancelled)
                raise
            with suppress(TimeoutError):  # the pause was not cut short by close()
                await asyncio.wait_for(self._closed.wait(), pause_s)

    async def messages(self, call: Any) -> AsyncGenerator[Any, None]:
        """The messages of a streaming call, which ends when nobody listens any more."""
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        except asyncio.CancelledError as cancelled:
            self._tell_closed(cancelled)
            raise
        finally:
            call.cancel()

    def check_open(self) -> None:
        """Raise Cancelled after `close()`."""
        if self._closed.is_set():
            raise Cancelled(CLOSED)

    def _tell_closed(self, cancelled: asyncio.CancelledError) -> None:
        """Raise Cancelled when it was `close()` that ended a call, and not the caller's task."""
        task = asyncio.current_task()
        if self._closed.is_set() and task is not None and not task.cancelling():
            raise Cancelled(CLOSED) from cancelled


class BlockingConnection:
    """A connection of gRPC's blocking stack; threads may share it."""

    def __init__(self, place: Place, retry: Retry) -> None:
        self._retry = retry
        self._channels = [
            channels.blocking_channel(target, place.tls, place.message_bytes)
            for target in dict.fromkeys((place.target, place.control))
        ]
        self.stubs = _stubs(self._channels[0], self._channels[-1])
        self.metadata = place.metadata
        self._closed = threading.Event()  # set once, by close(); cuts pauses short

    def close(self) -> None:
        """End the connection; calls in flight in other threads raise Cancelled."""
        self._closed.set()
        for channel in self._channels:
            channel.close()

    def make(self, call: Call[T], end: float) -> T:
        """Make a call, again where that is safe, until `end` on the monotonic clock."""
        method = getattr(self.stubs[call.service], call.method)
        metadata = self.metadata[call.service]
        failed = 0
        while True:
            self.check_open()
            left_s = max(0.0, end - monotonic())
            try:
                message = call.message(left_s)
                return call.parse(method(message, timeout=left_s, metadata=metadata))
            except grpc.RpcError as caught:
                failed += 1
                error = from_rpc_error(caught)
                pause_s = self._retry.pause_s(failed, end - monotonic())
                if pause_s is None or not call.may_repeat(error):
                    raise error from caught
            self._closed.wait(pause_s)

    def messages(self, call: Any) -> Iterator[Any]:
        """The messages of a streaming call, which ends when nobody listens any more."""
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    def check_open(self) -> None:
        """Raise Cancelled after `close()`."""
        if self._closed.is_set():
            raise Cancelled(CLOSED)


def _stubs(inference: Any, control: Any) -> dict[str, Any]:
    return {
        "inference": inference_pb2_grpc.GRPCInferenceServiceStub(inference),
        "control": control_pb2_grpc.ControlStub(control),
    }
