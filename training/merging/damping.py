"""Which damping to take, by what each made of inputs that were held back. Pure."""

from collections.abc import Sequence
from math import sqrt

from torch import Tensor

SURE = 2.0  # standard errors: the best of several looks better than it is, by chance alone


def chosen(dampings: Sequence[float], errors: Tensor) -> int:
    """The position of the damping of least mean error, if it is better than the largest, which is
    nearest to the average, by more than chance: by `SURE` standard errors of their difference, the
    same inputs compared. Else that of the largest.

    Args:
        dampings: any order.
        errors: squared error of each damping's coded model on each input, [dampings, m].
    """
    best = int(errors.mean(1).nan_to_num(float("inf")).argmin())
    largest = max(range(len(dampings)), key=lambda position: dampings[position])
    gain = errors[largest] - errors[best]
    doubt = SURE * gain.std() / sqrt(len(gain))
    return largest if gain.mean() <= doubt else best
