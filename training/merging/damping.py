"""Which damping to take, by what each made of inputs that were held back. Pure."""

from collections.abc import Sequence
from math import sqrt

from torch import Tensor

SURE = 2.0  # standard errors: the best of several looks better than it is, by chance alone


def chosen(dampings: Sequence[float], errors: Tensor, misses: Tensor) -> int:
    """The position of the damping of least mean error among those that are for no set of lost slots
    worse than the largest, which is nearest to the average, and miss no more classes; if it is
    better than that, too. Worse and better mean beyond chance: by `SURE` standard errors of the
    difference, the same inputs compared. Else the position of the largest.

    Args:
        dampings: any order.
        errors: squared error of what is decoded with each damping's coded models, for each set of
            lost slots and input, [dampings, sets, m].
        misses: share of what is decoded whose class is not the lost model's, [dampings, sets, m]:
            the coded model nearest to the mean in its outputs need not be the one that is right.
    """
    largest = max(range(len(dampings)), key=lambda position: dampings[position])
    average = errors[largest]
    means = errors.mean((1, 2)).nan_to_num(float("inf"))
    means[_beyond_chance(errors - average).any(1)] = float("inf")
    missed = misses.mean((1, 2))
    means[missed > missed[largest]] = float("inf")
    best = int(means.argmin())
    return best if _beyond_chance((average - errors[best]).mean(0)) else largest


def _beyond_chance(differences: Tensor) -> Tensor:
    """Whether their mean over the last dimension, of inputs, is above 0; not where one is NaN."""
    doubt = SURE * differences.std(-1) / sqrt(differences.shape[-1])
    return differences.mean(-1) > doubt
