"""The errors that travel: one small tree, each with its gRPC status and a machine-readable reason.

Servers raise them and `serving.ErrorInterceptor` puts them on the wire; clients get the same
classes back by `from_rpc_error`. Who raises which is decided elsewhere.
"""

from typing import Any, ClassVar

import grpc

from kofn.wire.tls import hung_up, refused_handshake

REASON_KEY = "kofn-reason"  # trailing metadata; published names of the protocol carry no reason

# Reasons that say: the request was not taken, so sending it again repeats nothing.
DRAINING = "draining"  # the server is about to leave
NOT_READY = "not-ready"  # the server or the model is not serving yet
NOT_CONNECTED = "not-connected"  # no connection was had; known on the client's side only
NEVER_TAKEN = frozenset({DRAINING, NOT_READY, NOT_CONNECTED})
TLS_REFUSED = "tls-refused"  # certificates do not fit; known on the client's side only
CONNECTION_LOST = "connection-lost"  # the request may or may not have been taken
# How grpc 1.85 words a call that never had a connection; it has no other mark. A test watches it.
NEVER_CONNECTED = "failed to connect to all addresses"
TOO_LARGE = "larger than max"  # as it words a message over a limit, of either side


class KofnError(Exception):
    """Something went wrong, in words for a person and for a program.

    Args:
        message: for a person; a server sends it to its client.
        reason: one short word for a program; the class's own when not given.
        status: gRPC status; the class's own when not given.
    """

    default_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self, message: str, reason: str | None = None, *, status: grpc.StatusCode | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = self.default_status if status is None else status
        self.reason = reason or self.status.name.lower().replace("_", "-")

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.message, self.reason, self.status)


class InvalidArgument(KofnError, ValueError):
    """The request can never succeed as it is."""

    default_status = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(KofnError):
    """No such model, worker or program."""

    default_status = grpc.StatusCode.NOT_FOUND


class FailedPrecondition(KofnError):
    """The system is not in the state that the request needs."""

    default_status = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhausted(KofnError):
    """A queue is full or a message too large; later or smaller may succeed."""

    default_status = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(KofnError):
    """Time was up first."""

    default_status = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(KofnError):
    """Nobody is there to do it now: not connected, draining, too few workers."""

    default_status = grpc.StatusCode.UNAVAILABLE


class Cancelled(KofnError):
    """The other side, or this one's user, gave the call up."""

    default_status = grpc.StatusCode.CANCELLED


class Internal(KofnError):
    """A bug of the server, or a reply that makes no sense."""

    default_status = grpc.StatusCode.INTERNAL


class Unimplemented(KofnError):
    """The server has no such method."""

    default_status = grpc.StatusCode.UNIMPLEMENTED


class Unauthenticated(KofnError):
    """The server does not know who is asking."""

    default_status = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(KofnError):
    """The server knows who is asking, and refuses."""

    default_status = grpc.StatusCode.PERMISSION_DENIED


_BY_STATUS: dict[grpc.StatusCode, type[KofnError]] = {
    kind.default_status: kind
    for kind in (
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
    )
}
_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def from_status(
    status: grpc.StatusCode | int, message: str, reason: str | None = None
) -> KofnError:
    """The error of a status, given as such or by its number; unknown numbers are UNKNOWN."""
    code = _BY_NUMBER.get(status, grpc.StatusCode.UNKNOWN) if isinstance(status, int) else status
    return _BY_STATUS.get(code, KofnError)(message, reason, status=code)


def from_rpc_error(error: grpc.RpcError) -> KofnError:
    """The error behind a failed call, of the blocking stack or of `grpc.aio`.

    The reason is the server's where it sent one. UNAVAILABLE without one comes from the transport:
    "not-connected" when the call never had a connection, "tls-refused" when that was for TLS, which
    no repetition mends, else "connection-lost".
    """
    call: Any = error  # both stacks raise calls, under types that share no base with these methods
    status = call.code() if hasattr(call, "code") else None
    message = (call.details() if hasattr(call, "details") else None) or ""
    trailing = call.trailing_metadata() if hasattr(call, "trailing_metadata") else None
    reason = None
    for key, value in trailing or ():
        if key == REASON_KEY:
            reason = value if isinstance(value, str) else value.decode("ascii", "replace")
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in message:
        message += "; the limit is the setting max_message_mb, of each side"
    if status is grpc.StatusCode.UNAVAILABLE and reason is None:
        reason, message = _transport(message)
    return from_status(status or grpc.StatusCode.UNKNOWN, message or str(error), reason)


def _transport(message: str) -> tuple[str, str]:
    """Reason and words of a failure below the service."""
    if not message.startswith(NEVER_CONNECTED):
        return CONNECTION_LOST, message
    if hint := refused_handshake(message):
        return TLS_REFUSED, f"TLS failed: {hint} ({message})"
    hint = hung_up(message)
    return NOT_CONNECTED, f"{message}: {hint}" if hint else message


def _rebuild(
    kind: type[KofnError], message: str, reason: str, status: grpc.StatusCode
) -> KofnError:
    return kind(message, reason, status=status)
