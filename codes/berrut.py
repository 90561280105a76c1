"""Berrut's rational interpolation as a code: no training, no threshold, never exact in general."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

from codes.base import Matrix, Vector
from codes.checks import check_choice, check_size
from codes.exact_case import ExactCase
from codes.interpolation import POINTS, berrut_weights, first
from codes.linear import LinearCode


@final
@dataclass(frozen=True)
class Berrut(LinearCode):
    """Berrut rational code, approximate: any subset of slots decodes, the more the better.

    Group: q = k queries. Roles: all "base". Threshold: 1.
    Exact case: equal queries; and an answer whose query point is a responder's slot point (with
    points "open" and n = 2k, or "first" and n = 3k, every query point is a slot point).
    Encode: u(z) = sum_j x_j w_j(z); shard i = u(slot_points[i]).
    Decode: the same form over the responders' slot points, at query_points.
    Cost: encode n k |x|, decode k s |y| multiply-adds; worker 1x; payload 1x.
    Not systematic: it costs accuracy without any straggler too. Better at n >= 1.5 k, or
    calibrated.
    Source: [soleymani2022]; [jahaninezhad2023] for the interpolant; the former's alpha is our
    query_points, its beta our slot_points.
    Deviates: slot points of the first kind by default, and "open" at n = k + 1; the published
    N + 1 points cos(i pi / N) interlace there at the worst places.

    Args:
        k: queries in a group, 1 to 256.
        n: slots, k to 256.
        points: of the slots: "first", "second", "open" (see `codes.interpolation`), or "auto",
            as above.
    """

    name: ClassVar[str] = "berrut"
    summary: ClassVar[str] = "rational interpolation through the queries; any subset decodes"
    source: ClassVar[str] = "soleymani2022"
    exact: ClassVar[bool] = False

    k: int
    n: int
    points: str = "auto"

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k, "k")
        check_choice("points", self.points, ("auto", *POINTS))

    @property
    def recovery_threshold(self) -> int:
        """Any slot gives an estimate of every answer."""
        return 1

    @property
    def exact_case(self) -> ExactCase:
        """Equal queries: every weight vector sums to 1."""
        says = "groups of equal queries, from any slot"
        return ExactCase("any", ((1.0,) * self.k,), 1, says)

    @property
    def query_points(self) -> Vector:
        """Where the queries are placed, [k]."""
        return first(self.k)

    @cached_property
    def slot_points(self) -> Vector:
        """Where the shards are taken, [n]."""
        points = self.points
        if points == "auto":
            points = "open" if self.n == self.k + 1 else "first"
        return POINTS[points](self.n)

    def _generator(self) -> Matrix:
        return berrut_weights(self.slot_points, self.query_points)

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        return berrut_weights(self.query_points, self.slot_points[list(slots)])
