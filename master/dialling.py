"""How a master reaches its workers: what every link dials with."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import grpc

from kofn.wire import channels, signing
from kofn.wire.tls import Tls

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class Dialling:
    """The same for all links of a pool.

    Attributes:
        tls: None is plaintext.
        message_bytes: of the largest message, either way.
        signing_key: by which workers know the programs that this master wants run; None signs
            nothing.
    """

    tls: Tls | None = None
    message_bytes: int = channels.MESSAGE_BYTES
    signing_key: "Ed25519PrivateKey | None" = None

    def channel(self, address: str, host: str) -> grpc.aio.Channel:
        """A channel to one worker.

        Args:
            address: "ip:port".
            host: the name that stood for it; the worker's certificate must carry it, unless
                another one was configured.
        """
        tls = self.tls
        if tls is not None and tls.peer_name is None:
            tls = replace(tls, peer_name=host)
        return channels.worker_channel(address, tls, self.message_bytes)

    def signature(self, program: str) -> bytes:
        """Of a program's content hash; empty where there is no key."""
        return b"" if self.signing_key is None else signing.sign(self.signing_key, program)
