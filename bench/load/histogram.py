"""Latencies counted in bins of equal ratio: small, and exact to a hundredth.

Bin i holds values in [LOWEST_S · GROWTH^i, LOWEST_S · GROWTH^(i + 1)), so that a quantile is off by
less than one per cent whatever its size, from 10 us to hours, in some hundred numbers. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

LOWEST_S = 1e-5  # shorter ones are counted in the first bin
GROWTH = 1.02  # the middle of a bin is within 1 % of all values in it
COVERAGE = 0.95  # of intervals


@dataclass(frozen=True)
class LogHistogram:
    """Counts of latencies; made by `of`.

    Attributes:
        bins: counts above 0, by number of the bin.
        longest_s: the largest value, exactly; 0 when there is none.
    """

    bins: Mapping[int, int] = field(default_factory=dict)
    longest_s: float = 0.0

    def __post_init__(self) -> None:
        if any(number < 0 or count < 1 for number, count in self.bins.items()):
            raise ValueError("Bins must have numbers from 0 on and counts above 0.")

    @classmethod
    def of(cls, latencies_s: "Iterable[float] | npt.NDArray[np.float64]") -> "LogHistogram":
        """Of some latencies in seconds.

        Raises:
            ValueError: one is negative or not finite.
        """
        values = np.asarray(latencies_s, np.float64)
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError("Latencies must be finite and at least 0 s.")
        if not values.size:
            return cls()
        ratios = np.log(np.maximum(values, LOWEST_S) / LOWEST_S) / np.log(GROWTH)
        numbers, counts = np.unique(np.floor(ratios).astype(int), return_counts=True)
        pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
        return cls(dict(pairs), float(values.max()))

    @property
    def count(self) -> int:
        """How many latencies."""
        return sum(self.bins.values())

    def quantile_s(self, share: float) -> float:
        """The smallest latency that so many of all, as a share in 0..1, are not above.

        Raises:
            ValueError: there is no latency, or no such share.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"Argument 'share' must be in 0..1, not {share}.")
        # a share such as 0.999 is no binary fraction: 0.999 * 1000 must not become rank 1000
        return self._of_rank(ceil(share * self.count - 1e-9))

    def interval_s(self, share: float) -> tuple[float, float | None]:
        """Where the quantile of the law behind the latencies is, with 95 % confidence.

        Two order statistics, whatever the law (the number of draws below its quantile is
        binomial); draws are taken as independent, which queueing makes them less than. None above
        where there are too few draws for an upper end.
        """
        count = self.count
        low, high = binom.ppf(((1 - COVERAGE) / 2, (1 + COVERAGE) / 2), count, share)
        upper = int(high) + 1
        return self._of_rank(int(low)), self._of_rank(upper) if upper <= count else None

    def _of_rank(self, rank: int) -> float:
        """The rank-th smallest latency, from 1 on: its bin's middle, never above the largest."""
        if not self.bins:
            raise ValueError("There is no latency.")
        rank = max(1, rank)
        if rank >= self.count:
            return self.longest_s
        passed = 0
        for number in sorted(self.bins):
            passed += self.bins[number]
            if passed >= rank:
                middle: float = LOWEST_S * GROWTH ** (number + 0.5)
                return min(middle, self.longest_s)
        raise AssertionError("the counts sum to `count`")
