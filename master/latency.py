"""How long slots took lately: a sliding window of durations and its quantiles.

It measures nothing itself and knows neither slots nor workers: whoever saw a reply adds its
duration. `policy` reads the quantiles when a coded batch starts.
"""

from collections import deque

WINDOW = 1000  # samples: p99 rests on ten; at 100 slots a second it forgets within ten seconds
REFRESH_SHARE = 16  # sort again once 1/16 of the window is new: a few microseconds a sample


class Latency:
    """A sliding window of durations in seconds.

    Quantiles may lag behind by 1/16 of the window: sorting is paid for by the samples between.

    Args:
        window: how many of the latest samples count.
    """

    def __init__(self, window: int = WINDOW) -> None:
        if window < 1:
            raise ValueError(f"Argument 'window' must be at least 1, not {window}.")
        self._samples: deque[float] = deque(maxlen=window)
        self._sorted: list[float] = []  # of the samples at the last sort
        self._unsorted = 0  # samples added since

    @property
    def count(self) -> int:
        """Samples in the window."""
        return len(self._samples)

    def add(self, duration_s: float) -> None:
        """Take one duration; the oldest leaves a full window. NaN and negative are refused."""
        if not duration_s >= 0.0:
            raise ValueError(f"Argument 'duration_s' must be at least 0, not {duration_s}.")
        self._samples.append(duration_s)
        self._unsorted += 1

    def quantile(self, q: float) -> float | None:
        """The q-quantile in seconds, interpolated linearly; None without samples."""
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"Argument 'q' must be in 0..1, not {q}.")
        if not self._samples:
            return None
        if self._unsorted * REFRESH_SHARE >= len(self._samples):
            self._sorted = sorted(self._samples)
            self._unsorted = 0
        position = q * (len(self._sorted) - 1)
        below = int(position)
        above = min(below + 1, len(self._sorted) - 1)
        low, high = self._sorted[below], self._sorted[above]
        return low + (high - low) * (position - below)
