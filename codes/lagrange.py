"""Lagrange coded computing: exact for polynomials of a declared degree, refused below R."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, final

import numpy as np

from codes.base import Matrix, Vector
from codes.checks import MOST_SLOTS, check_choice, check_size
from codes.exact_case import ExactCase, identity_rows
from codes.interpolation import CURVES, SAME, Circle, Curve, decoding_matrix, encoding_matrix
from codes.linear import RESIDUAL_LIMIT, LinearCode
from codes.locating import LocatesErrors, TooManyErrors, Values, misfits

MOST_DEGREE = 16
CIRCLE = Circle()
OFFSETS = tuple(i / 16 for i in range(16))  # of which one is suggested


@final
@dataclass(frozen=True)
class Lagrange(LocatesErrors, LinearCode):
    """Exact for programs whose answers are polynomials of the query's entries.

    Group: q = k queries. Roles: all "base". Threshold: R = (m - 1) d + 1 for degree d and m points
    through which the interpolant is laid: the k queries, the pads, and on the circle where these
    are even in number one more, at which it is 0, unless the program is `homogeneous`. Needs
    n >= R.
    Exact case: polynomials of degree d, any R slots.
    Encode: u(z) interpolates the queries; shard i = u(slot_points[i]).
    Decode: least squares of the (R)-dimensional basis over all responders, at query_points.
    Cost: encode n k |x|, decode k s |y| multiply-adds; worker 1x; payload 1x.
    Noise gain at (4, 6), linear programs, mean and worst set of 4 slots: circle 2.3, 3.7; first
    5.0, 20; second 4.6, 19. At K = 16, degree 2, n = 35, float32: relative error 2e-7 in the median
    of 50 random sets of 31 slots, 5e-6 at most; their gains reach 300.
    With fewer than R slots only answers with an own slot are given: what the others would be is
    wrong by as much as they are large.
    Locates errors: up to E wrong results are named from any R + 2 E slots, none otherwise; a lie
    within 2e-5 of the results' size counts as rounding.
    Pads: T random numbers for each entry of a query hide the queries from any T slots that put
    their shards together. Over the reals that is statistical, not perfect: a shard is a mix of
    queries plus a mix of pads, in which the pads are noise, s w times as large as the queries for
    pads of s times their scale and a slot whose weight of pads is w. Near a query's point w is
    small: with the best offset at least .17 at (2, 5), T = 1, and .11 at (2, 8); s must be several
    times its inverse to hide anything well, and each factor of 10 in s costs d digits.
    Source: [yu2019]. Deviates: real points on a circle; all responders are used.

    Args:
        k: queries in a group, 1 to 256.
        n: slots, R to 256.
        degree: of the program, 1 to 16.
        points: "circle", "first", "second" or "open" (see `codes.interpolation`).
        homogeneous: whether the program has terms of degree d, d - 2, d - 4, ... only: no bias
            where d is odd, no linear part where it is even. Then the circle needs no further point.
        pads: T, random pads in a group, 0 to 256 - k. With pads no slot point may be a query's or
            a pad's.
        offset: turns the circle's slot points, as a share of their distance, at least 0, below 1.
    """

    name: ClassVar[str] = "lagrange"
    summary: ClassVar[str] = "exact for polynomials of a declared degree, from any R slots"
    source: ClassVar[str] = "yu2019"
    exact: ClassVar[bool] = True
    wide: ClassVar[bool] = True

    k: int
    n: int
    degree: int = 1
    points: str = "circle"
    homogeneous: bool = False
    pads: int = 0
    offset: float = 0.0

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        if type(self.degree) is not int or not 1 <= self.degree <= MOST_DEGREE:
            raise ValueError(
                f"Argument 'degree' must be a whole number in 1..{MOST_DEGREE}, "
                f"not {self.degree!r}."
            )
        check_choice("points", self.points, CURVES)
        if type(self.pads) is not int or not 0 <= self.pads <= MOST_SLOTS - self.k:
            raise ValueError(
                f"Argument 'pads' must be a whole number in 0..{MOST_SLOTS - self.k}, "
                f"not {self.pads!r}."
            )
        if not 0 <= self.offset < 1 or (self.offset and self.points != "circle"):
            raise ValueError(
                f"Argument 'offset' must be at least 0 and below 1, and 0 but for the circle, "
                f"not {self.offset!r}."
            )
        threshold = self.recovery_threshold
        check_size("n", self.n, threshold, f"R of k = {self.k} and degree = {self.degree}")
        used = self._all_points[: self.k + self.pads]
        if self.pads and np.abs(self.slot_points[:, None] - used).min() < SAME:
            raise ValueError(self._says_what_coincides())

    @property
    def recovery_threshold(self) -> int:
        """(m - 1) d + 1."""
        return (self._laid_through - 1) * self.degree + 1

    @property
    def exact_case(self) -> ExactCase:
        """Polynomials, from any R slots."""
        kind = "homogeneous polynomials" if self.homogeneous else "polynomials"
        return ExactCase(
            program="homogeneous" if self.homogeneous else "polynomial",
            groups=identity_rows(self.k),
            needs=self.recovery_threshold,
            says=f"{kind} of degree {self.degree}, from any {self.recovery_threshold} slots",
            degree=self.degree,
        )

    @property
    def query_points(self) -> Vector:
        """Where the queries are placed, [k]."""
        return self._all_points[: self.k]

    @property
    def pad_points(self) -> Vector:
        """Where the pads are placed, [pads]: spread evenly between the queries."""
        return self._all_points[self.k : self.k + self.pads]

    @property
    def pad_weight(self) -> float:
        """The weight of the pads in the shard that has least of them; 0 without pads."""
        weights = np.linalg.norm(self._encoder()[:, self.k :], axis=1)
        return float(weights.min())

    @cached_property
    def slot_points(self) -> Vector:
        """Where the shards are taken, [n]."""
        return self._curve.slot_points(self.n)

    @property
    def _curve(self) -> Curve:
        return replace(CIRCLE, offset=self.offset) if self.offset else CURVES[self.points]

    @property
    def _laid_through(self) -> int:
        """Points of the interpolant: such that constants are among its products, if need be."""
        given = self.k + self.pads
        lacks_constants = not self.homogeneous and not self._curve.has_constants(given)
        return given + lacks_constants

    @cached_property
    def _all_points(self) -> Vector:
        """Queries', then pads', then the one at which the interpolant is 0, if there is one."""
        points = self._curve.query_points(self._laid_through)
        given = self.k + self.pads
        at_pads = [(2 * i + 1) * given // (2 * self.pads) for i in range(self.pads)]
        at_queries = [i for i in range(given) if i not in at_pads]
        return points[[*at_queries, *at_pads, *range(given, len(points))]]

    def _least_hidden(self, offset: float) -> float:
        """The weight of pads in the shard that has least of them, were this the offset."""
        at = replace(CIRCLE, offset=offset).slot_points(self.n)
        matrix = encoding_matrix(CIRCLE, self._all_points, at)
        weights = np.linalg.norm(matrix[:, self.k : self.k + self.pads], axis=1)
        return float(weights.min())

    def _says_what_coincides(self) -> str:
        field, remedy = "n", "another n, or points = 'circle' and an offset"
        if self.points == "circle":
            field, remedy = "offset", f"{max(OFFSETS, key=self._least_hidden):g}"
        return (
            f"Argument '{field}' must not put a slot on the point of a query or pad, which hides "
            f"nothing there, as {getattr(self, field)!r} does for n = {self.n}, k = {self.k} and "
            f"pads = {self.pads}; take {remedy}."
        )

    def _locate(
        self, values: Values, slots: tuple[int, ...], most: int, sure: frozenset[int]
    ) -> Sequence[int]:
        frame = self._curve.basis(self.recovery_threshold, self.slot_points[list(slots)])
        found = misfits(frame, values, most) if len(slots) > frame.shape[1] else ()
        if found is None:
            raise TooManyErrors(slots, most)
        return [slots[row] for row in found]

    def _generator(self) -> Matrix:
        return self._encoder()[:, : self.k]

    def _encoder(self) -> Matrix:
        matrix = encoding_matrix(self._curve, self._all_points, self.slot_points)
        return matrix[:, : self.k + self.pads]

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        dimension = self.recovery_threshold
        if len(slots) < dimension:
            return np.full((self.k, len(slots)), np.nan)
        known = self.slot_points[list(slots)]
        decoder = decoding_matrix(self._curve, dimension, known, self.query_points)
        frame = self._curve.basis(dimension, known)
        wanted = self._curve.basis(dimension, self.query_points)
        is_right = np.abs(decoder @ frame - wanted).max() <= RESIDUAL_LIMIT
        return decoder if is_right else np.full_like(decoder, np.nan)
