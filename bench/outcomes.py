"""From observations to the figures of a table: accuracies with intervals, latencies, costs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.load.seen import Seen
from kofn.wire.source import Source
from models.cards import wilson


@dataclass(frozen=True)
class Outcome:
    """One system under one load.

    Attributes:
        requests, queries: how many; a request holds several queries.
        p50_ms, p99_ms, p999_ms: of requests; a request without all its answers counts as long as
            it was waited for.
        overall: accuracy over all queries; one without an answer counts as a uniform guess.
        lost: queries whose own worker's answer did not come in time.
        lost_only: accuracy over those, decoded or guessed; None when there were none.
        lost_interval: its 95 % interval (Wilson).
        missing: queries without an answer.
    """

    requests: int
    queries: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    overall: float
    lost: int
    lost_only: float | None
    lost_interval: tuple[float, float] | None
    missing: int


def outcome(seen: Seen, labels: npt.NDArray[np.int64], classes: int) -> Outcome:
    """Sum up what was observed.

    Args:
        seen: at least one request.
        labels: true class of every image.
        classes: how many there are; a missing answer is worth 1/classes.
    """
    right = seen.predictions == labels[seen.rows]
    credit = np.where(seen.is_missing, 1 / classes, right)
    lost = seen.source != Source.DIRECT
    p50, p99, p999 = 1e3 * np.quantile(seen.latency_s, (0.5, 0.99, 0.999))
    count, hits = int(lost.sum()), float(credit[lost].sum())
    return Outcome(
        requests=len(seen),
        queries=seen.source.size,
        p50_ms=float(p50),
        p99_ms=float(p99),
        p999_ms=float(p999),
        overall=float(credit.mean()),
        lost=count,
        lost_only=hits / count if count else None,
        lost_interval=wilson(round(hits), count) if count else None,
        missing=int(seen.is_missing.sum()),
    )
