"""Natural smoothing splines as a code: regression instead of interpolation, both ways."""

from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float64

from codes.base import Matrix, Vector
from codes.checks import check_size
from codes.exact_case import ExactCase
from codes.interpolation import SAME, first, second
from codes.linear import LinearCode


def spline_weights(
    at: Float64[np.ndarray, " p"], knots: Float64[np.ndarray, " m"], smoothing: float
) -> Float64[np.ndarray, "p m"]:
    """Weights of the natural cubic smoothing spline: row p gives its value from the m samples.

    It minimises (1/m) sum_i (u(knot_i) - sample_i)^2 + smoothing * integral of u''^2. In Reinsch's
    form its values at the knots are (I + m * smoothing * Q R^-1 Q^T)^-1 samples and its second
    derivatives there R^-1 Q^T values; it is a line outside the knots, and everywhere for two of
    them; one knot makes a constant. Every sample of a line is on it, whatever the smoothing.

    Args:
        at: any points.
        knots: distinct, ascending or descending.
        smoothing: 0 interpolates.
    """
    order = np.argsort(knots)
    x, count = knots[order], len(knots)
    if count == 1:
        return np.ones((len(at), 1))
    h = np.diff(x)
    inner = np.arange(count - 2)
    q = np.zeros((count, count - 2))
    q[inner, inner] = 1 / h[:-1]
    q[inner + 1, inner] = -1 / h[:-1] - 1 / h[1:]
    q[inner + 2, inner] = 1 / h[1:]
    r = np.diag((h[:-1] + h[1:]) / 3)
    r[inner[:-1], inner[1:]] = r[inner[1:], inner[:-1]] = h[1:-1] / 6
    # With z = R^-1 Q^T values: (R + c Q^T Q) z = Q^T samples, values = samples - c Q z.
    c = count * smoothing
    curvature = np.zeros((count, count))  # second derivative at every knot, 0 at both ends
    curvature[1:-1] = np.linalg.solve(r + c * q.T @ q, q.T)
    values = np.eye(count) - c * q @ curvature[1:-1]
    piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, count - 2)
    width = h[piece]
    inside = np.clip(at, x[0], x[-1])
    u = ((inside - x[piece]) / width)[:, None]
    width = width[:, None]
    left, right = curvature[piece], curvature[piece + 1]
    weights = (1 - u) * values[piece] + u * values[piece + 1]
    weights += ((1 - u) ** 3 - (1 - u)) * width**2 / 6 * left + (u**3 - u) * width**2 / 6 * right
    slope = (values[piece + 1] - values[piece]) / width
    slope += ((1 - 3 * (1 - u) ** 2) * left + (3 * u**2 - 1) * right) * width / 6
    weights += (at - inside)[:, None] * slope
    if smoothing == 0:  # at a knot it is that knot's sample itself, to the last bit
        same = np.abs(at[:, None] - x[None, :]) < SAME
        weights[same.any(axis=1)] = same[same.any(axis=1)]
    placed = np.empty_like(weights)
    placed[:, order] = weights
    return np.asarray(placed, np.float64)


@final
@dataclass(frozen=True)
class Spline(LinearCode):
    """Smoothing-spline code, approximate: any subset of slots decodes, the more the better.

    Group: q = k queries. Roles: all "base". Threshold: 1.
    Exact case: a linear program on queries in line, x_j = a + b query_points[j], from any 2 slots.
    Encode: u = the natural cubic smoothing spline through (query_points, x) with smoothing
    lambda_e; shard i = u(slot_points[i]).
    Decode: the same through the responders (slot_points, results) with lambda_d, at query_points.
    Cost: encode n k |x|, decode k s |y| multiply-adds; worker 1x; payload 1x.
    Smoothing damps noise and liars, and bends answers towards a line; tune both for the program.
    Source: [moradi2024]; query points of the first kind, slot points of the second.
    Deviates: the smoothing terms are fixed numbers here, not searched; with lambda_e = 0 a slot on
    a query point holds that query, and its result is copied, not smoothed.

    Args:
        k: queries in a group, 1 to 256.
        n: slots, k to 256.
        lambda_e: of the encoder, at least 0.
        lambda_d: of the decoder, at least 0.
    """

    name: ClassVar[str] = "spline"
    summary: ClassVar[str] = "smoothing splines through queries and results; any subset decodes"
    source: ClassVar[str] = "moradi2024"
    exact: ClassVar[bool] = False

    k: int
    n: int
    lambda_e: float | int = 0.0
    lambda_d: float | int = 1e-4

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k, "k")
        for argument in ("lambda_e", "lambda_d"):
            value = getattr(self, argument)
            if type(value) not in (int, float) or not 0 <= value < inf:
                raise ValueError(
                    f"Argument '{argument}' must be a finite number of at least 0, not {value!r}."
                )

    @property
    def recovery_threshold(self) -> int:
        """Any slot gives an estimate of every answer."""
        return 1

    @property
    def exact_case(self) -> ExactCase:
        """A straight line has no curvature to smooth; one slot gives a constant only."""
        groups = [(1.0,) * self.k]
        if self.k > 1:
            groups.append(tuple(float(point) for point in self.query_points))
        needs = min(self.k, 2)
        says = f"linear programs on queries in line, from any {needs} slots"
        return ExactCase("linear", tuple(groups), needs, says)

    @property
    def query_points(self) -> Vector:
        """Where the queries are placed, [k]."""
        return first(self.k)

    @cached_property
    def slot_points(self) -> Vector:
        """Where the shards are taken, [n]."""
        return second(self.n)

    def _generator(self) -> Matrix:
        return spline_weights(self.slot_points, self.query_points, self.lambda_e)

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        return spline_weights(self.query_points, self.slot_points[list(slots)], self.lambda_d)
