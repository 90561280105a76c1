"""Point sets on [-1, 1] where codes over a curve place their queries and take their shards.

All descend from nearly 1 to nearly -1, as the cosine of equally spaced angles: such points crowd
at the ends, which keeps interpolation tame. "first" and "second" are the Chebyshev points of the
first and second kind; "open" is the set [soleymani2022]'s published scripts use.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64


def first(count: int) -> Float64[np.ndarray, " count"]:
    """Chebyshev points of the first kind, the roots of T_count: cos((2i + 1) pi / 2 count)."""
    return np.asarray(np.cos((2 * np.arange(count) + 1) * np.pi / (2 * count)), np.float64)


def second(count: int) -> Float64[np.ndarray, " count"]:
    """Chebyshev points of the second kind, both ends among them: cos(i pi / (count - 1))."""
    return np.asarray(np.cos(np.arange(count) * np.pi / max(count - 1, 1)), np.float64)


def half_open(count: int) -> Float64[np.ndarray, " count"]:
    """cos(i pi / count), i < count: 1 is among them and -1 is not."""
    return np.asarray(np.cos(np.arange(count) * np.pi / count), np.float64)


POINTS: dict[str, Callable[[int], np.ndarray]] = {
    "first": first,
    "second": second,
    "open": half_open,
}

# Distinct points of up to 256 differ by 4e-5 and more (1 - cos(pi / 512) and more); what is nearer
# than this is the same point, rounded.
SAME = 1e-12
