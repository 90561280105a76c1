"""Between gRPC and a service's methods: messages in, errors out.

Which errors there are stands in `errors.py`.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from kofn.wire.errors import REASON_KEY, Internal, InvalidArgument, KofnError

LONGEST_MESSAGE_BYTES = 6000  # percent-encoded; gRPC refuses replies with over 8 KiB of metadata

log = logging.getLogger(__name__)

if TYPE_CHECKING:  # generic in its stubs only
    ServerInterceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    ServerInterceptor = grpc.aio.ServerInterceptor


class ErrorInterceptor(ServerInterceptor):
    """Turns what a method raises into a status: our errors as they say, others into INTERNAL.

    A client never sees the text of an unexpected exception; the server's log has all of it.
    Cancellation passes through. Bytes that are no message are InvalidArgument: gRPC would call
    them an unknown error, and fill the log with one traceback for each. Serves the four kinds of
    method, written as coroutines or as asynchronous generators; of others the bytes alone are
    looked at, and streams are left as they are.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        if handler is None:  # unknown method: grpc says UNIMPLEMENTED
            return None
        method = str(handler_call_details.method)
        for kind in ("unary_unary", "stream_unary", "unary_stream", "stream_stream"):
            behaviour = getattr(handler, kind)
            if behaviour is not None:
                break
        wrap = _wrap_stream if handler.response_streaming else _wrap_unary
        wrapped = wrap(behaviour, method)
        if wrapped is None:
            return handler
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        parse = handler.request_deserializer
        return make(wrapped, parse and _tolerant(parse), handler.response_serializer)


def _wrap_unary(behaviour: Callable[..., Any], method: str) -> Callable[..., Any] | None:
    if not inspect.iscoroutinefunction(behaviour):  # as generated stubs refuse what nobody wrote
        return partial(_plainly, behaviour)

    async def answer(request: Any, context: Any) -> Any:
        try:
            return await behaviour(_parsed(request), context)
        except (Exception, asyncio.CancelledError) as error:
            await _tell(error, context, method)
            raise

    return answer


def _wrap_stream(behaviour: Callable[..., Any], method: str) -> Callable[..., Any] | None:
    generates = inspect.isasyncgenfunction(behaviour)
    if not generates and not inspect.iscoroutinefunction(behaviour):
        return None

    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            if generates:
                async for reply in behaviour(_parsed(request), context):
                    yield reply
            else:  # writes by itself, with context.write
                await behaviour(_parsed(request), context)
        except (Exception, asyncio.CancelledError) as error:
            await _tell(error, context, method)
            raise

    return answer


async def _tell(error: BaseException, context: Any, method: str) -> None:
    """Abort the call as `error` says; returns when the error has to pass as it is."""
    if isinstance(error, grpc.aio.AbortError):  # the method chose its status itself
        return
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # the call was cancelled, or its time is up
            return
        # Something inside was cancelled and nobody minded: the client must not be left waiting.
        log.error("%s ended by a cancellation from inside", method, exc_info=error)
        told: KofnError = Internal("internal error; the server's log has the details")
    elif isinstance(error, KofnError):
        told = error
    else:
        log.error("%s failed unexpectedly", method, exc_info=error)
        told = Internal("internal error; the server's log has the details")
    trailing = (*(context.trailing_metadata() or ()), (REASON_KEY, told.reason))
    await context.abort(told.status, _fitting(told.message), trailing)


def _plainly(behaviour: Callable[..., Any], request: Any, context: Any) -> Any:
    try:
        message = _parsed(request)
    except InvalidArgument as error:
        context.abort(error.status, error.message)
    try:
        return behaviour(message, context)
    except NotImplementedError:  # gRPC would log a traceback for each caller
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "This server has no such method.")


@dataclass(frozen=True)
class _Unreadable:
    """In a message's place: bytes that are none."""

    why: str


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parsed(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            return _Unreadable(str(error))

    return parsed


def _parsed(request: Any) -> Any:
    """A call's message, or its stream of messages; raises InvalidArgument where one is none."""
    if isinstance(request, _Unreadable):
        raise InvalidArgument(f"The bytes are no message of this method: {request.why}")
    return _each(request) if isinstance(request, AsyncIterator) else request


async def _each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _parsed(request)


def _fitting(message: str) -> str:
    """A message, cut where it would be too long once percent-encoded."""
    left = LONGEST_MESSAGE_BYTES
    if len(message) * 12 <= left:  # four bytes of UTF-8, three letters each
        return message
    for index, letter in enumerate(message):
        is_plain = " " <= letter <= "~" and letter != "%"
        left -= 1 if is_plain else 3 * len(letter.encode(errors="replace"))
        if left < 0:
            return message[:index] + " ..."
    return message
