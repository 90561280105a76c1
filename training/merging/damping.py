"""Which damping to take, by what each made of inputs that were held back. Pure."""

from collections.abc import Sequence
from math import sqrt

from torch import Tensor


def chosen(dampings: Sequence[float], errors: Tensor) -> int:
    """The position of the largest damping that is as good as the best, as far as can be told: its
    mean error is above the least by no more than the standard error of that difference, the same
    inputs compared. So what is far from the average must have been worth it.

    Args:
        dampings: any order.
        errors: squared error of each damping's coded model on each input, [dampings, m].
    """
    best = int(errors.mean(1).nan_to_num(float("inf")).argmin())
    excess = errors - errors[best]
    doubt = excess.std(1) / sqrt(errors.shape[1])
    good = (excess.mean(1) <= doubt).nonzero().flatten().tolist()
    return max(good, key=lambda position: dampings[position], default=best)
