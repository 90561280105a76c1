"""How a master reaches its workers: what every link dials with."""

from dataclasses import dataclass, replace

import grpc

from kofn.wire import channels
from kofn.wire.tls import Tls


@dataclass(frozen=True)
class Dialling:
    """The same for all links of a pool.

    Attributes:
        tls: None is plaintext.
        message_bytes: of the largest message, either way.
    """

    tls: Tls | None = None
    message_bytes: int = channels.MESSAGE_BYTES

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
