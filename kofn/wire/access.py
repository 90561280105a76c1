"""Who may call a service: whoever shows its bearer token.

A token is shown in the call's metadata as HTTP has it, `authorization: Bearer TOKEN`, so that
other tools can, too. It hides nothing by itself: without TLS whoever listens can read it.
"""

import hmac
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from kofn.wire.errors import Unauthenticated
from kofn.wire.serving import ServerInterceptor

KEY = "authorization"
VARIABLE = "KOFN_CONTROL_TOKEN"  # of masters and of clients
FEWEST_LETTERS = 16  # shorter ones can be guessed; 32 random ones are what is wanted


class TokenError(ValueError):
    """A token cannot be used; says where it came from, and what is accepted."""


def bearer(token: str) -> str:
    """The value of the metadata's entry."""
    return f"Bearer {token}"


def read_token(file: Path | None) -> str | None:
    """The token of a file, else of the environment's KOFN_CONTROL_TOKEN, else None.

    Raises:
        TokenError: the file cannot be read, or what it holds is no good token.
    """
    if file is None:
        token, source = os.environ.get(VARIABLE, "").strip(), f"environment variable {VARIABLE}"
        if not token:
            return None
    else:
        source = f"token file {file}"
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"{source}: cannot be read: {error}") from error
    if len(token) < FEWEST_LETTERS or not (token.isascii() and token.isprintable()):
        raise TokenError(
            f"{source}: must hold {FEWEST_LETTERS} or more printable ASCII letters; make one with "
            "`openssl rand -hex 32`."
        )
    return token


class TokenInterceptor(ServerInterceptor):
    """Refuses calls of one service without its token; others pass. Within
    `serving.ErrorInterceptor`.

    Args:
        service: full name of the guarded service.
        token: what callers must show.
    """

    def __init__(self, service: str, token: str) -> None:
        self._prefix = f"/{service}/"
        self._expected = bearer(token).encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler, or one that refuses."""
        handler = await continuation(handler_call_details)
        if handler is None or not str(handler_call_details.method).startswith(self._prefix):
            return handler
        metadata = handler_call_details.invocation_metadata or ()
        shown = [value for key, value in metadata if key == KEY]
        if len(shown) == 1 and self._is_right(shown[0]):
            return handler
        requests = "stream" if handler.request_streaming else "unary"
        replies = "stream" if handler.response_streaming else "unary"
        make = getattr(grpc, f"{requests}_{replies}_rpc_method_handler")
        refuse = _refusing("the token is wrong" if shown else "a token is missing")
        return make(refuse, handler.request_deserializer, handler.response_serializer)

    def _is_right(self, shown: str | bytes) -> bool:
        told = shown.encode(errors="replace") if isinstance(shown, str) else shown
        return hmac.compare_digest(told, self._expected)


def _refusing(why: str) -> Callable[[Any, Any], Awaitable[Any]]:
    async def refuse(request: Any, context: Any) -> Any:
        raise Unauthenticated(
            f"The control service wants a token, and {why}: show the master's as "
            f"`{KEY}: Bearer TOKEN`; `kofn` reads it from {VARIABLE} or --token-file."
        )

    return refuse
