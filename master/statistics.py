"""What a deployment has done so far: counts and durations, the one source for every report.

Plain numbers, changed on the event loop only. The control service, the Open Inference statistics
and the Prometheus collector read them; nothing here decides anything.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from kofn.wire.source import Source
from master.latency import Latency
from master.query import Request

# Upper bounds in seconds; a reply takes from half a millisecond to the longest sane deadline.
DURATION_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


@dataclass
class Duration:
    """How often something took how long, with a histogram over DURATION_BUCKETS_S."""

    count: int = 0
    total_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS_S) + 1))

    def add(self, seconds: float) -> None:
        """Count one occurrence."""
        self.count += 1
        self.total_s += seconds
        self.buckets[bisect_left(DURATION_BUCKETS_S, seconds)] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' form: (upper bound, occurrences at or below it), the last bound "+Inf"."""
        bounds = [*map(str, DURATION_BUCKETS_S), "+Inf"]
        return list(zip(bounds, np.cumsum(self.buckets).tolist(), strict=True))


@dataclass
class Statistics:
    """Counters of one deployment since it was deployed."""

    slot_latency: Latency = field(default_factory=Latency)  # round trip of slots that replied
    reply_latency: Latency = field(default_factory=Latency)  # arrival to reply of requests
    replies: Duration = field(default_factory=Duration)  # requests answered
    failures: Duration = field(default_factory=Duration)  # requests answered with an error
    queue: Duration = field(default_factory=Duration)
    encode: Duration = field(default_factory=Duration)
    wait: Duration = field(default_factory=Duration)
    decode: Duration = field(default_factory=Duration)
    rows: dict[Source, int] = field(default_factory=lambda: dict.fromkeys(Source, 0))
    batches: int = 0
    tasks_sent: int = 0
    tasks_resent: int = 0  # of these: hedges and second tries
    last_inference_ms: int = 0  # since the epoch

    def add_request(self, request: Request, duration_s: float, now_ms: int, ok: bool) -> None:
        """A request has its reply: `ok`, or an error."""
        (self.replies if ok else self.failures).add(duration_s)
        if ok:
            self.reply_latency.add(duration_s)
        timings = request.timings
        self.queue.add(timings.queue_s)
        self.encode.add(timings.encode_s)
        self.wait.add(timings.wait_s)
        self.decode.add(timings.decode_s)
        counts = np.bincount(request.source, minlength=len(Source))
        for source in Source:
            self.rows[source] += int(counts[source])
        self.last_inference_ms = now_ms
