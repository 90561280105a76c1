"""Many draws of a law at once, by the law's own quantile function; an exact twin for arrays.

`worker/laws.py` answers one level at a time, which is right for a worker and slow for a million.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import special

from worker.faults import Delay
from worker.laws import (
    Bimodal,
    Bursts,
    Constant,
    Expon,
    Law,
    Lognorm,
    Pareto,
    Scipy,
    Trace,
    WeibullMin,
)

Array = npt.NDArray[np.float64]
Draw = Callable[[], float]

BLOCK = 4096  # draws made at once for a caller who takes them one by one


def quantiles_s(law: Law, levels: Array) -> Array:
    """`law.quantile_s` of every level, of any shape; seconds, at least 0 as a worker has it."""
    delays: Array
    match law:
        case Constant(value_s):
            delays = np.full(levels.shape, value_s)
        case Expon(shift_s, scale_s):
            delays = shift_s - scale_s * np.log1p(-levels)
        case Pareto(shift_s, scale_s, b):
            delays = shift_s + scale_s * (1 - levels) ** (-1 / b)
        case WeibullMin(shift_s, scale_s, c):
            delays = shift_s + scale_s * (-np.log1p(-levels)) ** (1 / c)
        case Lognorm(shift_s, scale_s, s):
            delays = shift_s + scale_s * np.exp(s * special.ndtri(levels))
        case Bimodal(fast_s, slow_s, slow_probability):
            delays = np.where(levels >= 1 - slow_probability, slow_s, fast_s)
        case Trace(delays_s):
            recorded = np.asarray(delays_s)
            delays = recorded[(levels * len(recorded)).astype(np.int64)]
        case Scipy():
            delays = law.quantiles_s(levels)
        case _:
            flat = [law.quantile_s(float(level)) for level in levels.ravel()]
            delays = np.reshape(np.asarray(flat), levels.shape)
    return np.asarray(np.maximum(delays, 0.0))


def of_law(law: Law, rng: np.random.Generator) -> Draw:
    """Draws of a law, one at each call."""
    if isinstance(law, Constant):
        value_s = max(0.0, law.value_s)
        return lambda: value_s

    def endless() -> Iterator[float]:
        while True:
            yield from quantiles_s(law, rng.random(BLOCK)).tolist()

    return endless().__next__


def of_delays(delay: Delay | None, rng: np.random.Generator) -> Callable[[], Draw]:
    """Gives each worker its draw: of the delays that it injects, in the order of service.

    Only spells of slowness are a worker's own. Other delays are drawn for all of them at once: a
    block for each of 100,000 workers is gigabytes, and hours.
    """
    if delay is None:
        return lambda: lambda: 0.0
    if isinstance(delay.law, Bursts):
        law, level = delay.law, _levels(rng).__next__
        return lambda: _of_bursts(law, delay.probability, level)
    draw = _of_any(delay.law, delay.probability, rng)
    return lambda: draw


def _of_any(law: Law, probability: float, rng: np.random.Generator) -> Draw:
    if probability == 1.0:
        return of_law(law, rng)

    def endless() -> Iterator[float]:
        while True:
            yield from delays_s(law, probability, rng, (BLOCK,)).tolist()

    return endless().__next__


def delays_s(
    law: Law, probability: float, rng: np.random.Generator, shape: tuple[int, ...]
) -> Array:
    """Delays of a law that meets a share of the tasks; 0 for the others."""
    lengths = quantiles_s(law, rng.random(shape))
    if probability < 1.0:
        lengths[rng.random(shape) >= probability] = 0.0
    return lengths


def of_chance(probability: float, rng: np.random.Generator) -> Callable[[], bool]:
    """True with a probability."""

    def endless() -> Iterator[bool]:
        while True:
            yield from (rng.random(BLOCK) < probability).tolist()

    return endless().__next__


def _of_bursts(law: Bursts, probability: float, level: Draw) -> Draw:
    def endless() -> Iterator[float]:
        is_slow = level() < law.slow_share
        while True:
            length_s = law.slow_s if is_slow else law.fast_s
            yield length_s if probability == 1.0 or level() < probability else 0.0
            is_slow = (
                level() >= law.leave_probability if is_slow else level() < law.enter_probability
            )

    return endless().__next__


def _levels(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(BLOCK).tolist()
