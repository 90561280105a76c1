"""What is said of a load's latencies and of its generator; also in the records of a sweep."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.load.histogram import LogHistogram
from bench.load.seen import Seen


class Text(BaseModel):
    """What all records are made of: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(Text):
    """From the intended send time to the reply, of all requests of a load, in milliseconds.

    A request without all its answers counts for as long as it was waited for, at most the deadline
    and a little: where answers are missing the tail is cut off there.

    Attributes:
        count: requests.
        tail_gap_ms: p99.9 - p50.
        p999_interval_ms: 95 %, of order statistics; None above where requests are too few for one.
        bins: [number, count] of `bench.load.histogram.LogHistogram`; `report.sweeps.survival`
            makes the curve of them.
    """

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    tail_gap_ms: float
    p999_interval_ms: tuple[float, float | None]
    bins: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, histogram: LogHistogram) -> "Latency":
        """Of at least one latency."""
        p50, p90, p99, p999 = (1e3 * histogram.quantile_s(q) for q in (0.5, 0.9, 0.99, 0.999))
        low, high = histogram.interval_s(0.999)
        return cls(
            count=histogram.count,
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            p999_ms=p999,
            max_ms=1e3 * histogram.longest_s,
            tail_gap_ms=p999 - p50,
            p999_interval_ms=(1e3 * low, None if high is None else 1e3 * high),
            bins=tuple(histogram.bins.items()),
        )


class Kept(Text):
    """Whether the load generator sent in time; latencies count from the intended time anyway.

    Attributes:
        kept_up: it did. When not, the machine was too slow for this load and its own client.
        late_share: of requests, sent more than `bench.load.seen.LATE_S` after their time.
        late_p50_ms, late_p99_ms, late_max_ms: how late requests were sent.
    """

    kept_up: bool
    late_share: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float

    @classmethod
    def of(cls, seen: Seen) -> "Kept":
        """Of at least one request."""
        p50, p99 = np.quantile(seen.late_s, (0.5, 0.99))
        return cls(
            kept_up=seen.kept_up,
            late_share=seen.late_share,
            late_p50_ms=1e3 * float(p50),
            late_p99_ms=1e3 * float(p99),
            late_max_ms=1e3 * float(seen.late_s.max()),
        )
