"""What a deployment has done so far: counts and durations, the one source for every report.

Plain numbers, changed on the event loop only. The control service, the Open Inference statistics
and the Prometheus collector read them; nothing here decides anything.
"""

from dataclasses import dataclass, field

import numpy as np

from kofn.metrics import COUNT_BUCKETS, Histogram
from kofn.wire.source import Source
from master.consistency import Consistency
from master.latency import Latency
from master.query import Request

ANSWERED = ("ok", "partial")
# How requests end; the rest are gRPC's status names.
OUTCOMES = (
    *ANSWERED, "cancelled", "deadline_exceeded", "internal", "resource_exhausted", "unavailable",
)  # fmt: skip


@dataclass
class Statistics:
    """Counters of one deployment since it was deployed."""

    slot_latency: Latency = field(default_factory=Latency)  # round trip of slots that replied
    reply_latency: Latency = field(default_factory=Latency)  # arrival to reply of requests
    # Arrival to reply of requests, seconds, by outcome.
    requests: dict[str, Histogram] = field(
        default_factory=lambda: {outcome: Histogram() for outcome in OUTCOMES}
    )
    queue: Histogram = field(default_factory=Histogram)  # seconds, as the next three
    encode: Histogram = field(default_factory=Histogram)
    wait: Histogram = field(default_factory=Histogram)
    decode: Histogram = field(default_factory=Histogram)
    # Of coded batches, as they start: clients' rows, and coding groups.
    batch_rows: Histogram = field(default_factory=lambda: Histogram(COUNT_BUCKETS))
    batch_groups: Histogram = field(default_factory=lambda: Histogram(COUNT_BUCKETS))
    rows: dict[Source, int] = field(default_factory=lambda: dict.fromkeys(Source, 0))
    batches: int = 0
    tasks_sent: int = 0
    tasks_resent: int = 0  # of these: hedges and second tries
    last_inference_ms: int = 0  # since the epoch
    consistency: Consistency = field(default_factory=Consistency)

    def add_request(self, request: Request, duration_s: float, now_ms: int, outcome: str) -> None:
        """A request has ended; `outcome` is one of OUTCOMES."""
        self.requests[outcome].add(duration_s)
        if outcome in ANSWERED:
            self.reply_latency.add(duration_s)
        timings = request.timings
        self.queue.add(timings.queue_s)
        self.encode.add(timings.encode_s)
        self.wait.add(timings.wait_s)
        self.decode.add(timings.decode_s)
        counts = np.bincount(request.source.ravel(), minlength=len(Source))
        for source in Source:
            self.rows[source] += int(counts[source])
        self.last_inference_ms = now_ms

    def add_refusal(self, outcome: str) -> None:
        """A request was refused as it came."""
        self.requests[outcome].add(0.0)
