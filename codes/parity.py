"""Systematic parity: the queries themselves, and weighted sums of them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import ClassVar, final

import numpy as np

from codes.base import BASE, Matrix
from codes.checks import check_choice, check_size
from codes.exact_case import ExactCase, identity_rows
from codes.linear import MDSCode


def _average(k: int, r: int) -> Matrix:
    """Weighted averages [r, k]: Bernstein weights at k inner points; one row is the plain average.

    All weights are positive and a row sums to 1, so a mix of images is an image. The Bernstein
    basis is totally positive: every minor is positive, so any k slots decode.
    """
    at = (np.arange(k) + 0.5) / k
    rows = np.array([comb(r - 1, i) * at**i * (1 - at) ** (r - 1 - i) for i in range(r)])
    return np.asarray(rows / rows.sum(axis=1, keepdims=True), np.float64).reshape(r, k)


def _sum(k: int, r: int) -> Matrix:
    """The plain sum [1, k]."""
    return np.ones((r, k))


def _cauchy(k: int, r: int) -> Matrix:
    """A Cauchy matrix [r, k] over angles: 1 / sin(parity angle - query angle), rows of norm 1.

    n equal angles in a half turn, the parities' spread evenly among them. Scaled by cosines it is
    1 / (tan a - tan b): every minor differs from zero, so any k slots decode.
    """
    angles = (np.arange(k + r) + 0.5) * np.pi / (k + r)
    at = [int((i + 0.5) * (k + r) / r) for i in range(r)]
    rest = [i for i in range(k + r) if i not in at]
    rows = 1 / np.sin(angles[at][:, None] - angles[rest][None, :])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


# weights -> (their rows, the most parities). With averages the worst subset of (12, 16) already
# loses 5 digits; a second sum would be dependent on the first.
WEIGHTS: dict[str, tuple[Callable[[int, int], Matrix], int]] = {
    "average": (_average, 4),
    "sum": (_sum, 1),
    "cauchy": (_cauchy, 256),
}


def check_weights(weights: str, k: int, n: int) -> None:
    """Check the name of weights and that there are as many parities.

    Raises:
        ValueError: naming the argument, what is accepted and the value.
    """
    check_choice("weights", weights, WEIGHTS)
    most = WEIGHTS[weights][1]
    if n > k + most:
        raise ValueError(
            f"Argument 'n' must be at most k + {most} = {k + most} with weights {weights!r}, "
            f"not {n}."
        )


def systematic_rows(weights: str, k: int, n: int) -> Matrix:
    """The identity, and a row of weights for each parity; [n, k]."""
    return np.vstack([np.eye(k), WEIGHTS[weights][0](k, n - k)]) if n > k else np.eye(k)


def parity_roles(k: int, n: int) -> tuple[str, ...]:
    """ "base" for k slots, then "parity-0" and so on; length n."""
    return (BASE,) * k + tuple(f"parity-{i}" for i in range(n - k))


def ideal_parities(k: int) -> ExactCase:
    """Any k slots give all answers, if the extra slots return what they are trained for."""
    says = f"every program, from any {k} slots, with models that do what they are trained for"
    return ExactCase("any", identity_rows(k), k, says)


@final
@dataclass(frozen=True)
class Parity(MDSCode):
    """Systematic parity, approximate: own answers cost nothing, lost ones are estimated.

    Group: q = k queries. Roles: all "base". Threshold: k. Exact case: a linear program, any k.
    Encode: shard j = x_j for j < k; shard k + i = sum_j weights[i, j] x_j.
    Decode: least squares over the responders' rows; for r = 1 that is subtraction.
    Cost: encode r k |x|, decode lost * s |y| multiply-adds; worker 1x; payload 1x.
    Worst condition number and worst gain over all sets of k slots:
        (k, n)      (4, 6)      (8, 10)     (8, 12)         (12, 16)
        average     21, 18      75, 69      1e4, 9e3        5e4, 5e4
        cauchy      7.6, 3.9    24, 12      109, 55         385, 217
    A plain Vandermonde matrix is worse than both: 105, 72 at (8, 10). Averages keep the mix inside
    the range of the queries, which matters more to a network: on 8 x 8 digits, a small CNN, (6, 8),
    calibrated, two lost, .74 of the lost answers were right with averages and .61 with cauchy.
    Cauchy suits linear programs.
    With `trained` parities each parity slot has a role of its own, "parity-0" and so on: a model
    that was trained to turn its mix of queries into the same mix of the answers. Then the code is
    as exact as those models are.
    Source: [kosaian2019]; there the parities are trained; untrained ones run the base program.
    Deviates: averages instead of sums by default; r > 1.

    Args:
        k: queries in a group, 1 to 256.
        n: slots, k to 256; r = n - k of them are parities.
        weights: "average" (at most 4 parities), "sum" (at most 1) or "cauchy".
        trained: whether parities run models of their own.
    """

    name: ClassVar[str] = "parity"
    summary: ClassVar[str] = "systematic: the queries, and weighted averages of them"
    source: ClassVar[str] = "kosaian2019"
    exact: ClassVar[bool] = False

    k: int
    n: int
    weights: str = "average"
    trained: bool = False

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k, "k")
        check_weights(self.weights, self.k, self.n)

    @property
    def recovery_threshold(self) -> int:
        """As many slots as there are queries."""
        return self.k

    @property
    def roles(self) -> tuple[str, ...]:
        """ "base" for the queries; for parities too, unless they are trained."""
        return parity_roles(self.k, self.n) if self.trained else (BASE,) * self.n

    @property
    def exact_case(self) -> ExactCase:
        """Linear programs; with trained parities any, if they do what they are trained for."""
        if self.trained:
            return ideal_parities(self.k)
        says = f"linear programs, from any {self.k} slots"
        return ExactCase("linear", identity_rows(self.k), self.k, says)

    def _generator(self) -> Matrix:
        return systematic_rows(self.weights, self.k, self.n)
