"""How we dial and listen: every gRPC option that is not a default, with its origin, and TLS.

Builders of channels and servers, and the allocator's settings of a serving process. Nothing here
knows a service.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

Options = tuple[tuple[str, int], ...]

MESSAGE_BYTES = 64 * 2**20  # default 4 MiB: a batch of 350 colour images of 32 x 32 failed
PING_TIME_MS = 1000  # default never: a stopped peer on an idle connection was not missed at all
PING_TIMEOUT_MS = 1000  # default 60 s, apart from the keepalive timeout: noticed after 61 s
SERVER_PING_TIME_MS = 10_000  # default 2 h: calls of a caller that was cut off stayed open
SERVER_PING_TIMEOUT_MS = 10_000  # patient: a caller's own program may be busy and is no straggler
LEAST_PING_INTERVAL_MS = 500  # default 5 min: a server hung up on a 1 s pinger after 3 s
RECONNECT_MIN_MS = 100  # default 1 s, doubling to 120 s: a worker that came back after 15 s of
RECONNECT_MAX_MS = 1000  # absence was used 8.1 s late; with these 0.02 s

_MESSAGES: Options = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
)
CLIENT_OPTIONS: Options = (
    *_MESSAGES,
    ("grpc.keepalive_time_ms", PING_TIME_MS),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),  # 0 is no limit; default 2, then pings stop
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN_MS),
    ("grpc.min_reconnect_backoff_ms", RECONNECT_MIN_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
    # Channels of one process to one address share a connection and its backoff by default.
    ("grpc.use_local_subchannel_pool", 1),
)
WORKER_CHANNEL_OPTIONS: Options = (
    *CLIENT_OPTIONS,
    ("grpc.enable_retries", 0),  # the code is the redundancy; a second try would be a surprise
)
SERVER_OPTIONS: Options = (
    *_MESSAGES,
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


@dataclass(frozen=True)
class Tls:
    """Files of an encrypted connection, in PEM; the same form on both sides.

    Attributes:
        certificate: own certificate chain. A server must have one; a client that has one shows it.
        key: private key of `certificate`.
        authority: certificates that vouch for the other side. On a server: clients must show a
            certificate (mutual TLS). On a client: None trusts gRPC's default roots.
        peer_name: name that the server's certificate must carry, where it is not the name dialled.

    Raises:
        ValueError: a certificate without its key, or the other way round.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    peer_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs 'certificate' and 'key' together, or neither.")

    def client_credentials(self) -> grpc.ChannelCredentials:
        """For dialling; raises OSError when a file cannot be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=_content(self.authority),
            private_key=_content(self.key),
            certificate_chain=_content(self.certificate),
        )

    def server_credentials(self) -> grpc.ServerCredentials:
        """For listening; raises OSError (an unreadable file) or ValueError (no certificate)."""
        key, certificate = _content(self.key), _content(self.certificate)
        if key is None or certificate is None:
            raise ValueError("A TLS server needs 'certificate' and 'key'.")
        return grpc.ssl_server_credentials(
            [(key, certificate)],
            root_certificates=_content(self.authority),
            require_client_auth=self.authority is not None,
        )

    def channel_options(self) -> tuple[tuple[str, str], ...]:
        """What `peer_name` asks of a channel."""
        return (("grpc.ssl_target_name_override", self.peer_name),) if self.peer_name else ()


def client_channel(target: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """A channel of a client to a master; connects at its first call."""
    return _aio_channel(target, tls, CLIENT_OPTIONS)


def worker_channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """A channel of a master to one worker; connects at its first call."""
    return _aio_channel(address, tls, WORKER_CHANNEL_OPTIONS)


def blocking_channel(target: str, tls: Tls | None = None) -> grpc.Channel:
    """`client_channel` of gRPC's blocking stack."""
    if tls is None:
        return grpc.insecure_channel(target, options=CLIENT_OPTIONS)
    options = (*CLIENT_OPTIONS, *tls.channel_options())
    return grpc.secure_channel(target, tls.client_credentials(), options=options)


def server(
    interceptors: "Sequence[grpc.aio.ServerInterceptor[Any, Any]]" = (),
) -> grpc.aio.Server:
    """A server with our options; give it services and an address (`listen`), then start it."""
    return grpc.aio.server(interceptors=tuple(interceptors), options=SERVER_OPTIONS)


def listen(on: grpc.aio.Server, address: str, tls: Tls | None = None) -> int:
    """Bind a server to "host:port" and return the port, chosen freely where it is 0.

    Raises:
        OSError: the address is taken or is none of this machine's; a TLS file cannot be read.
        ValueError: `tls` has no certificate.
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


def _aio_channel(target: str, tls: Tls | None, options: Options) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(
        target, tls.client_credentials(), options=(*options, *tls.channel_options())
    )


def _content(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
