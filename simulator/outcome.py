"""What a simulation found: a histogram of latencies, what answers were, and what they cost."""

from dataclasses import dataclass, field
from math import exp, inf, log
from typing import Any

import numpy as np
import numpy.typing as npt

LOWEST_S = 1e-7  # anything quicker is counted as this
STEP = 0.005  # of the logarithm: two edges are half a percent apart
BINS = 5600  # up to 1.4e5 s
BUFFERED = 1 << 16  # single values that wait for being sorted into bins


class Histogram:
    """Latencies in seconds, in bins half a percent wide; count, sum and extremes are exact."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self._buffer: list[float] = []
        self._sum = self._squares = 0.0
        self._least, self._most = inf, 0.0

    def add(self, latency_s: float) -> None:
        """Take one."""
        self._buffer.append(latency_s)
        if len(self._buffer) >= BUFFERED:
            self._flush()

    def add_all(self, latencies_s: npt.NDArray[np.float64]) -> None:
        """Take an array of any shape."""
        values = np.asarray(latencies_s, np.float64).ravel()
        if not len(values):
            return
        places = np.log(np.maximum(values, LOWEST_S) / LOWEST_S) / STEP
        bins = np.minimum(places.astype(np.int64), BINS - 1)
        self._counts += np.bincount(bins, minlength=BINS)
        self._sum += float(values.sum())
        self._squares += float(np.square(values).sum())
        self._least = min(self._least, float(values.min()))
        self._most = max(self._most, float(values.max()))

    @property
    def count(self) -> int:
        """How many were taken."""
        self._flush()
        return int(self._counts.sum())

    @property
    def mean(self) -> float:
        """Seconds; NaN when empty."""
        return self._sum / self.count if self.count else float("nan")

    @property
    def variance(self) -> float:
        """Square seconds; NaN when empty."""
        return self._squares / self.count - self.mean**2 if self.count else float("nan")

    @property
    def max(self) -> float:
        """Seconds; 0 when empty."""
        self._flush()
        return self._most

    def quantile(self, q: float) -> float:
        """Seconds that a share q stays under, to half a percent; NaN when empty.

        Raises:
            ValueError: q is not in 0..1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"Argument 'q' must be in 0..1, not {q}.")
        total = self.count
        if not total:
            return float("nan")
        cumulated = np.cumsum(self._counts)
        place = int(np.searchsorted(cumulated, q * total))
        inside = self._counts[place]
        before = cumulated[place] - inside
        share = (q * total - before) / inside if inside else 0.5
        value = LOWEST_S * exp(STEP * (place + share))
        return min(max(value, self._least), self._most)

    def share_within(self, latency_s: float) -> float:
        """Share of those taken that are at most so long; within a bin as if spread evenly."""
        total = self.count
        if not total or latency_s >= self._most:
            return float(total > 0)
        place = min(BINS - 1.0, log(max(latency_s, LOWEST_S) / LOWEST_S) / STEP)
        whole = int(place)
        inside = (place - whole) * self._counts[whole]
        return float(self._counts[:whole].sum() + inside) / total

    def points(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Upper edges in seconds, and counts, of the bins that hold something."""
        self._flush()
        (places,) = np.nonzero(self._counts)
        return LOWEST_S * np.exp(STEP * (places + 1.0)), self._counts[places]

    def _flush(self) -> None:
        if self._buffer:
            self.add_all(np.asarray(self._buffer))
            self._buffer.clear()


@dataclass
class Outcome:
    """What became of the counted requests.

    Attributes:
        method: how it was simulated: "events", "recursion" or "independent"; see `simulator.run`.
        latency: of requests, from arrival to the reply; refused ones are not in it.
        requests, queries: counted; a query is a row of a request.
        refused: requests that found the queue full; their answers are missing.
        direct, decoded, missing: answers, by what became of them.
        gain_sum: of the decoded ones' gains.
        sent, resent: slots of single groups that were sent, and of these again.
        served: slots of single groups that took a worker's time, cancelled or not.
        busy_s: workers' seconds, cancelled work included.
        master_s: the master's seconds at the stem.
        span_s: virtual seconds in which these were sent.
        workers: how many; None is any number.
        events: of the event loop, 0 for the other methods.
        wall_s: real seconds that it took.
    """

    method: str
    workers: int | None
    latency: Histogram = field(default_factory=Histogram)
    requests: int = 0
    queries: int = 0
    refused: int = 0
    direct: int = 0
    decoded: int = 0
    missing: int = 0
    gain_sum: float = 0.0
    sent: int = 0
    resent: int = 0
    served: int = 0
    busy_s: float = 0.0
    master_s: float = 0.0
    span_s: float = 0.0
    events: int = 0
    wall_s: float = 0.0

    @property
    def answers(self) -> int:
        """Asked for."""
        return self.direct + self.decoded + self.missing

    @property
    def direct_share(self) -> float:
        """Of the answers: results of an own slot."""
        return self.direct / max(1, self.answers)

    @property
    def decoded_share(self) -> float:
        """Of the answers: decoded from others' results."""
        return self.decoded / max(1, self.answers)

    @property
    def missing_share(self) -> float:
        """Of the answers: not there in time."""
        return self.missing / max(1, self.answers)

    @property
    def mean_gain(self) -> float:
        """Of the decoded answers; NaN when there are none."""
        return self.gain_sum / self.decoded if self.decoded else float("nan")

    @property
    def load_factor(self) -> float:
        """Slots that took a worker's time, for each query: as measured, cancelled work included."""
        return self.served / max(1, self.queries)

    @property
    def sends_per_query(self) -> float:
        """Slots that were sent for each query, whether they were served or not."""
        return self.sent / max(1, self.queries)

    @property
    def worker_s_per_query(self) -> float:
        """Workers' seconds for each query that was answered."""
        return self._per_query(self.busy_s)

    @property
    def master_s_per_query(self) -> float:
        """The master's seconds at the stem for each query that was answered."""
        return self._per_query(self.master_s)

    @property
    def utilisation(self) -> float:
        """Share of the workers' time that they served; NaN without a number of workers."""
        if self.workers is None or not self.span_s:
            return float("nan")
        return self.busy_s / (self.workers * self.span_s)

    def _per_query(self, seconds: float) -> float:
        answered = self.queries * (1.0 - self.missing_share)
        return seconds / answered if answered else float("nan")

    def summary(self) -> dict[str, Any]:
        """Plain numbers, for JSON; None where there is none."""
        latency = self.latency
        quantiles = {
            f"p{100 * q:g}_ms": _number(1e3 * latency.quantile(q)) for q in (0.5, 0.9, 0.99, 0.999)
        }
        return {
            "method": self.method,
            "requests": self.requests,
            "queries": self.queries,
            "refused": self.refused,
            "mean_ms": _number(1e3 * latency.mean),
            **quantiles,
            "max_ms": _number(1e3 * latency.max),
            "direct": self.direct_share,
            "decoded": self.decoded_share,
            "missing": self.missing_share,
            "mean_gain": _number(self.mean_gain),
            "load_factor": self.load_factor,
            "sends_per_query": self.sends_per_query,
            "worker_ms_per_query": _number(1e3 * self.worker_s_per_query),
            "master_ms_per_query": _number(1e3 * self.master_s_per_query),
            "utilisation": _number(self.utilisation),
            "span_s": self.span_s,
            "events": self.events,
            "wall_s": self.wall_s,
        }


def _number(value: float) -> float | None:
    return None if value != value else value
