"""Interpolation through queries: points, bases, and the matrices of codes over a curve.

k queries are given at query points, a shard is the interpolant's value at a slot point, and f of it
is a value of f along the interpolant. For a polynomial f of degree d that is a function of
(k - 1) d + 1 coefficients, which as many responders fix. Berrut's rational interpolant is here too:
it has no basis, and needs no number of responders. All of it is float64 and pure; a code remembers
the decoders of its sets of responders (`codes.linear`).

Points on [-1, 1] descend from nearly 1 to nearly -1, as the cosine of equally spaced angles: such
points crowd at the ends, which keeps interpolation tame. "first" and "second" are the Chebyshev
points of the first and second kind; "open" is the set [soleymani2022]'s published scripts use.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

Matrix = Float64[np.ndarray, "a b"]
Points = Float64[np.ndarray, " p"]


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


class Curve(ABC):
    """Where a code lives: its points, and a basis for every dimension.

    Products of d functions of the basis of dimension m lie in that of dimension (m - 1) d + 1.
    """

    @abstractmethod
    def query_points(self, k: int) -> Points:
        """Where k queries are placed, [k], distinct."""

    @abstractmethod
    def slot_points(self, n: int) -> Points:
        """Where n shards are taken, [n], distinct."""

    @abstractmethod
    def basis(self, dimension: int, at: Points) -> Matrix:
        """The basis functions at some points, [p, dimension]."""

    @abstractmethod
    def has_constants(self, dimension: int) -> bool:
        """Whether a constant is in the span of the basis of a dimension."""


@dataclass(frozen=True)
class Circle(Curve):
    """Angles of a full turn and trigonometric functions: the real form of roots of unity.

    Dimension m even: cos((j + 1/2) t), sin((j + 1/2) t), j < m / 2; odd: sqrt(1/2), cos(j t),
    sin(j t), 0 < j <= (m - 1) / 2. At the query points the basis is an orthogonal matrix times
    sqrt(m / 2), so every row of an encoding matrix has norm 1 and no slot stands at an end.
    An even dimension has no constants: it changes its sign after a turn.
    Source: design of this project, after [yu2019].

    Args:
        offset: of the slots, as a share of their distance. With 0 and n = 2 k every query point is
            a slot point.
    """

    offset: float = 0.0

    def query_points(self, k: int) -> Points:
        """2 pi (j + 1/2) / k."""
        return np.asarray(2 * np.pi * (np.arange(k) + 0.5) / k, np.float64)

    def slot_points(self, n: int) -> Points:
        """2 pi (i + offset) / n."""
        return np.asarray(2 * np.pi * (np.arange(n) + self.offset) / n, np.float64)

    def basis(self, dimension: int, at: Points) -> Matrix:
        """See above; angles in one turn, [0, 2 pi)."""
        half = 0.5 * (1 - dimension % 2)
        count = dimension // 2
        waves = (np.arange(count) + (half or 1.0))[None, :] * at[:, None]
        constant = np.full((len(at), dimension % 2), np.sqrt(0.5))
        return np.concatenate([constant, np.cos(waves), np.sin(waves)], axis=1)

    def has_constants(self, dimension: int) -> bool:
        """Of an odd dimension only."""
        return dimension % 2 == 1


@dataclass(frozen=True)
class Segment(Curve):
    """Points on [-1, 1] and Chebyshev polynomials.

    Any k-subset determines the interpolant, but neighbours that are missing at an end cost much
    more than on the circle.

    Args:
        kind: of the slots: "first", "second" or "open".
    """

    kind: str = "first"

    def query_points(self, k: int) -> Points:
        """Chebyshev points of the first kind."""
        return first(k)

    def slot_points(self, n: int) -> Points:
        """Chebyshev points of this kind."""
        return np.asarray(POINTS[self.kind](n), np.float64)

    def basis(self, dimension: int, at: Points) -> Matrix:
        """T_0 ... T_(m-1), the first over sqrt(2)."""
        values = np.cos(np.arange(dimension)[None, :] * np.arccos(np.clip(at, -1, 1))[:, None])
        values[:, 0] = np.sqrt(0.5)
        return np.asarray(values, np.float64)

    def has_constants(self, dimension: int) -> bool:
        """Of every dimension."""
        return True


CURVES: dict[str, Curve] = {
    "circle": Circle(),
    "first": Segment("first"),
    "second": Segment("second"),
    "open": Segment("open"),
}


def encoding_matrix(curve: Curve, query_points: Points, at: Points) -> Matrix:
    """Values of the interpolant through the queries, [p, k]: row i times the queries is at[i].

    Rows that are a unit vector to rounding are made one: a slot on a query point returns that
    query's answer untouched.
    """
    k = len(query_points)
    square = curve.basis(k, query_points)
    matrix = np.linalg.solve(square.T, curve.basis(k, at).T).T
    plain = np.rint(matrix)
    is_near = (np.abs(matrix - plain) < 1e-12).all(axis=1)
    is_unit = is_near & (plain >= 0).all(axis=1) & (plain.sum(axis=1) == 1)
    matrix[is_unit] = plain[is_unit]
    return np.asarray(matrix, np.float64)


def decoding_matrix(curve: Curve, dimension: int, known: Points, wanted: Points) -> Matrix:
    """Values at the wanted points from those at the known ones, [w, s].

    With at least `dimension` known points: least squares, exact for functions of the basis of that
    dimension. With fewer: of all that fit, the one of least norm.

    By QR, not by the singular value decomposition: a circle's frames have repeated singular values,
    on which LAPACK's has been seen not to converge.
    """
    frame, target = curve.basis(dimension, known), curve.basis(dimension, wanted)
    if len(known) >= dimension:
        q, r = np.linalg.qr(frame)  # frame = q r; coefficients = r^-1 q' values
        solved = np.linalg.solve(r.T, target.T).T @ q.T
    else:
        q, r = np.linalg.qr(frame.T)  # frame' = q r; coefficients = q r^-T values
        solved = target @ q @ np.linalg.inv(r.T)
    return np.asarray(solved, np.float64)


def berrut_weights(
    at: Float64[np.ndarray, " p"], nodes: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, "p m"]:
    """Weights of Berrut's first interpolant: row p gives its value at a point from the m samples.

    w_j(z) = ((-1)^j / (z - node_j)) / sum_m ((-1)^m / (z - node_m)), the nodes in order of
    position. At a node it is that node's sample itself. Rows sum to 1. Signs alternate over the
    nodes given: over a subset's original indices there would be poles.

    Args:
        at: any points.
        nodes: at least one, distinct, ascending or descending.
    """
    distance = at[:, None] - nodes[None, :]
    same = np.abs(distance) < SAME
    terms = (-1.0) ** np.arange(len(nodes)) / np.where(same, 1.0, distance)
    hit = same.any(axis=1)
    terms[hit] = same[hit]  # before the division: the sum of their terms may be 0
    return np.asarray(terms / terms.sum(axis=1, keepdims=True), np.float64)


def noise_gain(decoder: Matrix) -> Float64[np.ndarray, " k"]:
    """By how much each answer amplifies noise of the results: the 2-norms of the decoder's rows.

    Independent noise of one size at every responder comes out so many times as large; 1 is a copy.
    A row of NaN, an answer that is not decoded, gives inf.
    """
    gain = np.linalg.norm(decoder, axis=1)
    return np.asarray(np.where(np.isnan(gain), np.inf, gain), np.float64)
