"""How long tasks take, learned from those that ended and from those that were let go.

A straggler is cancelled as soon as another's result serves, so that whoever learns from replies
alone never meets one: its quantiles shrink, and it hedges more and more. A task that was let go
has at least lasted until then, and the product-limit estimator uses just that.

Source: Kaplan and Meier, Nonparametric estimation from incomplete observations, 1958.
"""

from collections import deque

import numpy as np

WINDOW = 1000  # tasks: a share of 1 % rests on ten
REFRESH_SHARE = 16  # estimate again once 1/16 of the window is new


class Lateness:
    """The law of a task's time over a sliding window, in seconds from its sending.

    Args:
        window: how many of the latest tasks count.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._seen: deque[tuple[float, bool]] = deque(maxlen=window)  # seconds; whether it replied
        self.estimates = 0  # made so far
        self._new = 0  # seen since the last estimate
        # Moments of replies, ascending, and the chance to take longer than each.
        self._times = np.zeros(0)
        self._longer = np.zeros(0)
        self._durations = np.zeros(0)  # of all, ascending

    @property
    def count(self) -> int:
        """Tasks in the window that replied, or nearly so many."""
        self._refresh()
        return len(self._times)

    def add(self, duration_s: float, *, replied: bool) -> None:
        """A task replied after so long, or was let go."""
        self._seen.append((duration_s, replied))
        self._new += 1

    def longer(self, than_s: float) -> float:
        """The chance that a task takes longer than this; 1 where nothing is known."""
        self._refresh()
        at = int(np.searchsorted(self._times, than_s, "right"))
        return float(self._longer[at - 1]) if at else 1.0

    def straggling(self, than_s: float, out_s: float) -> float:
        """The share of the tasks that take longer than this, of those that replied within `out_s`
        or were out for longer.

        What was let go before tells nothing here. It went as another's result served, which is
        when it would have replied itself: where all take the same time, the law of all tasks has
        nobody reply after the first, and a few stragglers would stand for all that were let go.
        """
        self._refresh()
        still_out = len(self._durations) - int(np.searchsorted(self._durations, out_s, "right"))
        replied = int(np.searchsorted(self._times, out_s, "right"))
        if not still_out:
            return 0.0
        return still_out / (still_out + replied) * self.longer(than_s) / self.longer(out_s)

    def chance(self, within_s: float, after_s: float = 0.0) -> float:
        """The chance that a task that is out for `after_s` replies within the next `within_s`."""
        out = self.longer(after_s)
        return 1.0 - self.longer(after_s + within_s) / out if out > 0.0 else 0.0

    def quantile(self, q: float) -> float:
        """The time that a share q of the tasks does not exceed; the longest seen where more do.

        Raises:
            IndexError: nothing is known.
        """
        self._refresh()
        at = int(np.searchsorted(-self._longer, q - 1.0))
        return float(self._times[min(at, len(self._times) - 1)])

    def _refresh(self) -> None:
        if self._new * REFRESH_SHARE < len(self._seen) or not self._new:
            return
        self._new = 0
        durations = np.array([duration for duration, _ in self._seen])
        replied = np.array([replied for _, replied in self._seen])
        order = np.lexsort((~replied, durations))  # a reply before what was let go at that moment
        at_risk = np.arange(len(order), 0, -1)
        longer = np.cumprod(1.0 - replied[order] / at_risk)
        self._durations = durations[order]
        self._times = durations[order][replied[order]]
        self._longer = longer[replied[order]]
        self.estimates += 1
