"""Coded inference: predictions on time from slow, failing and lying workers.

What a user touches: `Client` and `AsyncClient`, the `Answers` they give, and the errors they
raise. Importing this package imports nothing else; each name is loaded at its first use.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kofn.client.aio import AsyncClient
    from kofn.client.answers import Answers, StreamReply, Timings
    from kofn.client.calls import Retry
    from kofn.client.sync import Client
    from kofn.wire.errors import (
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
    )
    from kofn.wire.source import Source
    from kofn.wire.tls import Tls

    __version__: str

__all__ = [
    "Answers",
    "AsyncClient",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "KofnError",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "Retry",
    "Source",
    "StreamReply",
    "Timings",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
]

_HOMES = {
    "AsyncClient": "kofn.client.aio",
    "Client": "kofn.client.sync",
    "Tls": "kofn.wire.tls",
    "Retry": "kofn.client.calls",
    "Source": "kofn.wire.source",
    **dict.fromkeys(("Answers", "StreamReply", "Timings"), "kofn.client.answers"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = metadata.version("kofn")
    elif name in __all__:
        value = getattr(import_module(_HOMES.get(name, "kofn.wire.errors")), name)
    else:
        raise AttributeError(f"module 'kofn' has no attribute {name!r}")
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
