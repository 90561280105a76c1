"""What master and worker share as sources of Prometheus metrics: histograms, and the HTTP server.

Serving counts in plain numbers, and a scrape reads them: nothing waits for whoever scrapes.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from kofn.wire.tls import Tls

# Upper bounds in seconds; a reply takes from half a millisecond to the longest sane deadline.
DURATION_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
COUNT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536)


class Histogram:
    """How often something was how large.

    Args:
        bounds: ascending upper bounds of the buckets, inclusive; one above the last is implied.
    """

    __slots__ = ("bounds", "buckets", "count", "total")

    def __init__(self, bounds: Sequence[float] = DURATION_BUCKETS_S) -> None:
        self.bounds = bounds
        self.count = 0
        self.total = 0.0
        self.buckets = [0] * (len(bounds) + 1)  # not cumulative

    def add(self, value: float) -> None:
        """Count one occurrence."""
        self.count += 1
        self.total += value
        self.buckets[bisect_left(self.bounds, value)] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' form: (upper bound, occurrences at or below it), the last bound "+Inf"."""
        found, below = [], 0
        for bound, count in zip(
            [*(str(float(b)) for b in self.bounds), "+Inf"], self.buckets, strict=True
        ):
            below += count
            found.append((bound, float(below)))
        return found


def together(histograms: Iterable[Histogram]) -> Histogram:
    """The sum of histograms over DURATION_BUCKETS_S."""
    total = Histogram()
    for each in histograms:
        total.count += each.count
        total.total += each.total
        total.buckets = [a + b for a, b in zip(total.buckets, each.buckets, strict=True)]
    return total


def serve_metrics(
    collector: "Collector", host: str, port: int, tls: "Tls | None" = None
) -> "MetricsServer":
    """Serve a collector's metrics and this process's own at /metrics; port 0 takes a free one.

    With `tls` it is HTTPS, and for known clients only where there is an authority.

    Raises:
        OSError: the port is taken, or the host is none of this machine's.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry, **_files(tls))
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port} for metrics: {error.strerror}") from error
    if tls is not None:  # in each caller's own thread: one that says nothing holds up nobody
        server.socket.do_handshake_on_connect = False  # type: ignore[attr-defined] # wrapped
    return MetricsServer(server, thread)


def _files(tls: "Tls | None") -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "certfile": str(tls.certificate),
        "keyfile": str(tls.key),
        "client_cafile": None if tls.authority is None else str(tls.authority),
        "client_auth_required": tls.authority is not None,
    }


class MetricsServer:
    """The running HTTP server; it answers in threads of its own."""

    def __init__(self, server, thread) -> None:  # type: ignore[no-untyped-def] # library types
        self._server, self._thread = server, thread

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening; returns when its thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
