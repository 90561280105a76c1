"""The learned Lagrange code: mixes of a stem's features on a circle, one trunk for all slots."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float64

from codes.base import BASE, Matrix, Vector
from codes.checks import check_size
from codes.exact_case import ExactCase, identity_rows
from codes.interpolation import Circle, decoding_matrix, encoding_matrix
from codes.linear import LinearCode

TRUNK = "trunk"  # the rest of the model, behind the stem: what all coded slots run
GOLDEN = (5**0.5 - 1) / 2  # turns between spare points: they never meet and never crowd
ASSUMED_NOISE = 0.01  # of a trunk that nobody has measured: trained ones have .003 to .03
SAME_ANGLE = 1e-9  # of a turn


@final
@dataclass(frozen=True)
class SplitLagrange(LinearCode):
    """Learned and approximate: any slots decode, the more the better, and k to 2 k slots suffice.

    Group: q = k queries, as a stem made them (`codes.stages`). Roles: all "trunk"; systematic, k
    of "base" first. Threshold: R; fewer slots give the answer of least norm.
    Exact case: a linear trunk, from any R slots, where R - k is even.
    Encode: u(t) interpolates the queries on a circle; shard i = u(slot_points[i]), rows of norm 1.
    Decode: the function of dimension R through the results: by least squares; or, where the
    trunk's `noise` is known, the linear estimate of least expected error,
    B' F' (F F' + noise I)^-1 with F and B the basis at slot_points and query_points. Systematic,
    own answers are copied and the others solved for.
    Expected error, where the noise is known: that of this estimate, and of the `bias` beside.
    Cost: encode n k |x|, decode k s |y| multiply-adds; a worker: the trunk; payload |x| of the cut.
    Source: [tang2023], [agrawal2022]: a deep network with Lagrange interpolation whose recovery
    threshold is a parameter. The split network, the circle and the estimate are this project's
    design; the papers' networks could not be read.

    Args:
        k: queries in a group, 1 to 256.
        n: slots, k + spares to 256.
        dimension: R, of the functions that results are taken for, k to n; default k.
        noise: mean square of what a trunk's result differs by from the mix of the answers, as a
            share of the answers' own: measured when the trunk is trained. 0: unknown.
        bias: mean square of what even the answers from all slots differ by from the base model's,
            as the same share; added to what an estimate says of its error.
        spares: of the slots, how many are sent only in place of late ones, each at a fresh angle.
        offset: of the slot points, as a share of their distance.
        systematic: k slots run the whole model on the queries themselves, so that nothing is lost
            where they respond; the others stand between them on the circle.
    """

    name: ClassVar[str] = "split-lagrange"
    summary: ClassVar[str] = "learned; one trunk on mixes of a stem's features, any slots decode"
    source: ClassVar[str] = "tang2023"
    exact: ClassVar[bool] = False
    free: ClassVar[frozenset[str]] = frozenset({"n", "dimension", "spares", "offset", "systematic"})

    k: int
    n: int
    dimension: int | None = None
    noise: float = 0.0
    bias: float = 0.0
    spares: int = 0
    offset: float = 0.0
    systematic: bool = False

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("spares", self.spares, 0)
        check_size("n", self.n, self.k + self.spares, "k + spares" if self.spares else "k")
        if self.dimension is not None:
            check_size("dimension", self.dimension, self.k, "k")
            if self.dimension > self.sent:
                raise ValueError(
                    f"Argument 'dimension' must be at most n - spares = {self.sent}, "
                    f"not {self.dimension}."
                )
            if self.systematic and self.dimension != self.k:
                raise ValueError(
                    f"Argument 'dimension' must be k = {self.k} where the code is systematic, "
                    f"not {self.dimension}."
                )
        if not 0 <= self.noise < np.inf:
            raise ValueError(f"Argument 'noise' must be at least 0 and finite, not {self.noise}.")
        if not 0 <= self.bias < 1:
            raise ValueError(f"Argument 'bias' must be in [0, 1), not {self.bias}.")
        if not 0 <= self.offset < 1:
            raise ValueError(f"Argument 'offset' must be in [0, 1), not {self.offset}.")
        self._check_apart()

    @property
    def recovery_threshold(self) -> int:
        """R: with fewer slots an answer is the one of least norm, not interpolated."""
        return self.dimension or self.k

    @property
    def usual_responders(self) -> int:
        """R."""
        return self.recovery_threshold

    @property
    def roles(self) -> tuple[str, ...]:
        """ "trunk", after k of "base" where the code is systematic."""
        own = self.k if self.systematic else 0
        return (BASE,) * own + (TRUNK,) * (self.n - own)

    @property
    def exact_case(self) -> ExactCase:
        """Linear trunks; an estimate, or one by other functions, is exact for nothing but zero."""
        threshold = self.recovery_threshold
        if self.noise or (threshold - self.k) % 2:
            return ExactCase("linear", ((0.0,) * self.k,), 1, "answers of zero, and own answers")
        says = f"linear trunks, from any {threshold} slots"
        return ExactCase("linear", identity_rows(self.k), threshold, says)

    @property
    def query_points(self) -> Vector:
        """Angles of the queries, [k]."""
        return self._circle.query_points(self.k)

    @cached_property
    def slot_points(self) -> Vector:
        """Angles of the slots, [n]; spare ones last."""
        own = self.query_points if self.systematic else np.empty(0)
        evenly = self.sent - len(own)
        if len(own) and evenly <= self.k:  # in the middle between queries, well apart
            gaps = np.arange(evenly) * self.k // max(evenly, 1)
            coded = 2 * np.pi * (gaps + self.offset) / self.k
        else:
            coded = self._circle.slot_points(evenly)
        first = (0.5 + self.offset) / max(evenly, 1)
        turns = (first + GOLDEN * np.arange(self.spares)) % 1
        return np.concatenate([own, coded, 2 * np.pi * turns])

    @property
    def _circle(self) -> Circle:
        return Circle(self.offset)

    def _check_apart(self) -> None:
        turns = np.sort(self.slot_points / (2 * np.pi))
        gaps = np.diff(turns, append=turns[0] + 1)
        if self.n > 1 and gaps.min() < SAME_ANGLE:
            raise ValueError(
                f"Argument 'offset' must keep the slot points apart; with {self.offset} two of "
                f"them are one: another one in [0, 1) will do."
            )

    def _generator(self) -> Matrix:
        return encoding_matrix(self._circle, self.query_points, self.slot_points)

    def _frame(self, points: Vector) -> Float64[np.ndarray, "p R"]:
        """The basis of dimension R, scaled so that answers of variance 1 have coefficients of
        variance 1."""
        dimension = self.recovery_threshold
        frame = self._circle.basis(dimension, points) * np.sqrt(2 / dimension)
        return np.asarray(frame, np.float64)

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        own, coded, lost = self._told_apart(slots)
        decoder = np.full((self.k, len(slots)), np.nan)
        if not coded:
            return decoder
        places = [slots.index(slot) for slot in coded]
        inner = self._estimator(coded, lost)
        decoder[:, :] = 0.0
        decoder[np.ix_(lost, places)] = inner
        if own:  # what the own answers contribute to the coded results is known, and taken off
            known = self.generator[np.ix_(coded, own)]
            decoder[np.ix_(lost, [slots.index(slot) for slot in own])] = -inner @ known
        return decoder

    def _told_apart(self, slots: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
        """Own slots, which are answers too, of the same number; coded ones; and lost answers."""
        own = [slot for slot in slots if self.roles[slot] == BASE]
        coded = [slot for slot in slots if self.roles[slot] != BASE]
        return own, coded, [j for j in range(self.k) if j not in own]

    def _estimator(self, coded: list[int], lost: list[int]) -> Matrix:
        """From coded results, less the share of known answers, to the lost answers."""
        if self.systematic:
            frame, target = self.generator[np.ix_(coded, lost)], np.eye(len(lost))
        elif self.noise:
            frame = self._frame(self.slot_points[coded])
            target = self._frame(self.query_points[lost])
        else:
            dimension = self.recovery_threshold
            points = self.slot_points[coded], self.query_points[lost]
            return decoding_matrix(self._circle, dimension, *points)
        if self.noise:
            within = frame @ frame.T + self.noise * np.eye(len(coded))
            return np.asarray(np.linalg.solve(within, frame @ target.T).T, np.float64)
        return least_norm(frame)

    def _gain(self, slots: tuple[int, ...]) -> Vector:
        """Where the noise is known, by how much the answers' error is more than it, root of mean
        square: what the decoder's row amplifies where that is little, and also what it misses."""
        if not self.noise:
            if len(slots) >= self.recovery_threshold:
                return super()._gain(slots)
            return replace(self, noise=ASSUMED_NOISE)._gain(slots)
        gain = np.sqrt((1 - self._explained(slots)) / self.noise)
        gain[self._told_apart(slots)[0]] = 1.0
        return gain

    def _expected_error(self, slots: tuple[int, ...]) -> Vector | None:
        if not self.noise:
            return None
        explained = self._explained(slots)
        error: Vector = np.clip(1 - (1 - self.bias) * explained, 0.0, 1.0)
        error[np.isneginf(explained)] = np.inf
        error[self._told_apart(slots)[0]] = 0.0
        return error

    def _explained(self, slots: tuple[int, ...]) -> Vector:
        """The share of each answer's mean square that the estimate gives; -inf where there is
        none."""
        _, coded, lost = self._told_apart(slots)
        explained = np.ones(self.k)
        if not coded:
            explained[lost] = -np.inf
        elif lost:
            if self.systematic:
                across = self.generator[np.ix_(coded, lost)]
            else:
                frame = self._frame(self.slot_points[coded])
                across = frame @ self._frame(self.query_points[lost]).T
            explained[lost] = np.einsum("ls,sl->l", self._estimator(coded, lost), across)
        return np.minimum(explained, 1.0)


def least_norm(matrix: Matrix) -> Matrix:
    """The pseudo-inverse of a matrix of full rank [a, b], by QR: [b, a]."""
    if len(matrix) >= matrix.shape[1]:
        q, r = np.linalg.qr(matrix)
        return np.asarray(np.linalg.solve(r, q.T), np.float64)
    return least_norm(matrix.T).T
