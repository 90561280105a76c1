"""Delay laws, each given by its quantile function; all times in seconds.

Pure: no law draws; `worker/faults.py` gives them levels in [0, 1) to turn into delays. The common
ones are closed forms here, at under 1 us a draw; all others come from `scipy.stats` by name.
"""

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

NORMAL = NormalDist()


class Law(Protocol):
    """A delay law, given by its quantile function."""

    def quantile_s(self, level: float) -> float:
        """The delay in seconds that a share `level`, in [0, 1), of all draws stays under."""


@dataclass(frozen=True)
class Constant:
    """Always the same."""

    value_s: float

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        return self.value_s


@dataclass(frozen=True)
class Expon:
    """Shifted exponential: P(T > t) = exp(-(t - shift) / scale)."""

    shift_s: float
    scale_s: float

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        return self.shift_s - self.scale_s * math.log1p(-level)


@dataclass(frozen=True)
class Pareto:
    """P(T > t) = (scale / (t - shift))^b."""

    shift_s: float
    scale_s: float
    b: float

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        return self.shift_s + self.scale_s * math.pow(1 - level, -1 / self.b)


@dataclass(frozen=True)
class WeibullMin:
    """P(T > t) = exp(-((t - shift) / scale)^c)."""

    shift_s: float
    scale_s: float
    c: float

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        return self.shift_s + self.scale_s * math.pow(-math.log1p(-level), 1 / self.c)


@dataclass(frozen=True)
class Lognorm:
    """log((T - shift) / scale) is normal with standard deviation s; scale is the median."""

    shift_s: float
    scale_s: float
    s: float

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        if not level:
            return self.shift_s
        return self.shift_s + self.scale_s * math.exp(self.s * NORMAL.inv_cdf(level))


@dataclass(frozen=True)
class Bimodal:
    """`slow_s` with a probability, else `fast_s`."""

    fast_s: float
    slow_s: float
    slow_probability: float

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        return self.slow_s if level >= 1 - self.slow_probability else self.fast_s


@dataclass(frozen=True)
class Trace:
    """Recorded delays, each as likely as the others."""

    delays_s: tuple[float, ...]

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        return self.delays_s[int(level * len(self.delays_s))]


@dataclass(frozen=True)
class Scipy:
    """Any continuous distribution of `scipy.stats`, by name; 80 us a draw and more.

    Attributes:
        name: "gamma", "invgauss", ...
        shapes: its shape parameters by name.
        shift_s, scale_s: scipy's loc and scale.
    """

    name: str
    shapes: dict[str, float]
    shift_s: float
    scale_s: float
    _frozen: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from scipy import stats  # here, since it adds 0.8 s to the start of every worker

        distribution = getattr(stats, self.name)
        frozen = distribution(loc=self.shift_s, scale=self.scale_s, **self.shapes)
        object.__setattr__(self, "_frozen", frozen)

    def quantile_s(self, level: float) -> float:
        """See `Law`."""
        return float(self._frozen.ppf(level))

    def quantiles_s(self, levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The same of many levels at once, at a hundredth of the price each."""
        return np.asarray(self._frozen.ppf(levels), np.float64)


@dataclass(frozen=True)
class Bursts:
    """Gilbert-Elliott: slow and fast spells of geometric length, counted in tasks.

    Attributes:
        enter_probability: that a slow spell begins with the task after a fast one.
        leave_probability: that it ends with the task after a slow one.
    """

    fast_s: float
    slow_s: float
    enter_probability: float
    leave_probability: float

    @property
    def slow_share(self) -> float:
        """Share of the tasks that meet a slow spell in the long run; the chain starts with it."""
        return self.enter_probability / (self.enter_probability + self.leave_probability)
