"""How we dial and listen: every gRPC option that is not a default, with its origin.

Builders of channels and servers, and the allocator's settings of a serving process. Nothing here
knows a service.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import grpc

from kofn.wire.tls import Tls

Options = tuple[tuple[str, int], ...]

MESSAGE_BYTES = 64 * 2**20  # default 4 MiB: a batch of 350 colour images of 32 x 32 failed
PING_TIME_MS = 1000  # default never: a stopped peer on an idle connection was not missed at all
WORKER_PING_TIME_MS = 500  # with 1000 a stopped worker was out after up to 2.01 s; so 1.63
WORKER_PING_TIMEOUT_MS = 1000  # default 60 s, apart from the keepalive timeout: noticed after 61 s
PING_TIMEOUT_MS = 5000  # with 1000 a master that was short of a core for a second lost its requests
SERVER_PING_TIME_MS = 10_000  # default 2 h: calls of a caller that was cut off stayed open
SERVER_PING_TIMEOUT_MS = 10_000  # patient: a caller's own program may be busy and is no straggler
LEAST_PING_INTERVAL_MS = 250  # default 5 min: a server hung up on a 1 s pinger after 3 s
RECONNECT_MIN_MS = 100  # default 1 s, doubling to 120 s: a worker that came back after 15 s of
RECONNECT_MAX_MS = 500  # absence was used 8.1 s late; with 1000, and its jitter, up to 0.94 s

_DIALLING: Options = (
    ("grpc.http2.max_pings_without_data", 0),  # 0 is no limit; default 2, then pings stop
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN_MS),
    ("grpc.min_reconnect_backoff_ms", RECONNECT_MIN_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
    # Channels of one process to one address share a connection and its backoff by default.
    ("grpc.use_local_subchannel_pool", 1),
)
CLIENT_OPTIONS: Options = (
    *_DIALLING,
    ("grpc.keepalive_time_ms", PING_TIME_MS),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
)
WORKER_CHANNEL_OPTIONS: Options = (
    *_DIALLING,
    ("grpc.keepalive_time_ms", WORKER_PING_TIME_MS),
    ("grpc.keepalive_timeout_ms", WORKER_PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", WORKER_PING_TIMEOUT_MS),
    ("grpc.enable_retries", 0),  # the code is the redundancy; a second try would be a surprise
)
SERVER_OPTIONS: Options = (
    # Default 1: two servers take one port without a word, and a stale one answers for the new.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # The name without "recv" is the one that C-core obeys; the other is silently ignored.
    ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_INTERVAL_MS),
    ("grpc.keepalive_time_ms", SERVER_PING_TIME_MS),
    ("grpc.keepalive_timeout_ms", SERVER_PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", SERVER_PING_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
)

# <malloc.h> of glibc. By default it returns a large block to the kernel after each message, and
# every copy of the next one faults its pages in again: messages of 1 MB took 2 to 4 times longer.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MALLOC = {
    _M_TRIM_THRESHOLD: 2**30,
    _M_MMAP_THRESHOLD: 32 * 2**20,  # the most that glibc takes
    _M_TOP_PAD: 64 * 2**20,
}


def client_channel(
    target: str, tls: Tls | None = None, message_bytes: int = MESSAGE_BYTES
) -> grpc.aio.Channel:
    """A channel of a client to a master; connects at its first call.

    Args:
        target: "host:port", or any name that gRPC resolves.
        tls: None is plaintext.
        message_bytes: of the largest message, either way; larger ones are RESOURCE_EXHAUSTED.
    """
    return _aio_channel(target, tls, (*CLIENT_OPTIONS, *_limits(message_bytes)))


def worker_channel(
    address: str, tls: Tls | None = None, message_bytes: int = MESSAGE_BYTES
) -> grpc.aio.Channel:
    """A channel of a master to one worker; connects at its first call."""
    return _aio_channel(address, tls, (*WORKER_CHANNEL_OPTIONS, *_limits(message_bytes)))


def blocking_channel(
    target: str, tls: Tls | None = None, message_bytes: int = MESSAGE_BYTES
) -> grpc.Channel:
    """`client_channel` of gRPC's blocking stack."""
    options = (*CLIENT_OPTIONS, *_limits(message_bytes))
    if tls is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(
        target, tls.client_credentials(), options=(*options, *tls.channel_options())
    )


def server(
    interceptors: "Sequence[grpc.aio.ServerInterceptor[Any, Any]]" = (),
    message_bytes: int = MESSAGE_BYTES,
) -> grpc.aio.Server:
    """A server with our options; give it services and an address (`listen`), then start it."""
    options = (*SERVER_OPTIONS, *_limits(message_bytes))
    return grpc.aio.server(interceptors=tuple(interceptors), options=options)


def listen(on: grpc.aio.Server, address: str, tls: Tls | None = None) -> int:
    """Bind a server to "host:port" and return the port, chosen freely where it is 0.

    Raises:
        OSError: the address is taken or is none of this machine's.
        TlsError: `tls` has no certificate.
    """
    try:
        if tls is None:
            return int(on.add_insecure_port(address))
        return int(on.add_secure_port(address, tls.server_credentials()))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error


def tune_malloc() -> bool:
    """Keep large freed blocks in this process; True where the C library is glibc and took it.

    Call it once, early, in processes that move tensors. Settings in the environment win.
    """
    if any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return all(library.mallopt(name, value) == 1 for name, value in _MALLOC.items())


def _limits(message_bytes: int) -> Options:
    return (
        ("grpc.max_send_message_length", message_bytes),
        ("grpc.max_receive_message_length", message_bytes),
    )


def _aio_channel(target: str, tls: Tls | None, options: Options) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(
        target, tls.client_credentials(), options=(*options, *tls.channel_options())
    )
