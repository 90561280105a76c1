"""Leave-one-out residuals of approximate codes: how far a result is from what the others say of it.

Each responder's result is predicted from the others' by the best affine estimate, of which the
inverse covariance gives all residuals and their variances at once. Even honest ones are far from
normal, so that what is suspicious is learned from a sample of honest groups: for these very
responders, and for as many groups as are judged together. Pure; `codes.calibrated` locates by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import bdtrik

from codes.base import Matrix, Vector

POOLS = (1, 2, 4, 8, 16, 32)  # groups judged together; other numbers as the next one below
# Batches drawn from the sample of honest groups: the 5 to 20 most extreme tell the strict limit.
DRAWS = 2000
FOLDS = 5  # a part of the sample is scored by the moments of the others: its own fit too well
CONFIDENCE = 0.98  # share of samples whose limit keeps the rate, if their groups are independent
LEAST = 0.25  # of the share that was meant: the limit is no stricter, however small the sample


@dataclass(frozen=True)
class LeaveOneOut:
    """The test of one set of responders, for batches of at least so many groups.

    A slot's score in a group is the root of its residual's mean square over entries, and in a batch
    the mean of these: one wild group of an honest worker does not decide.

    Attributes:
        whitening: [rows, rows]; times centred results it gives residuals of variance 1.
        sizes: of the slots' blocks of rows, in order.
        largest: scores of honest batches' worst slots, ascending; about 1 is usual for a slot.
        groups: honest ones that these are drawn from.
    """

    whitening: Matrix
    sizes: tuple[int, ...]
    largest: Vector
    groups: int

    def scores(
        self, centred: Float64[np.ndarray, "rows g entries"]
    ) -> Float64[np.ndarray, " slots"]:
        """How far each slot's results are from what the others say of them."""
        rest = np.tensordot(self.whitening, centred, 1)
        energy = np.square(rest).mean(axis=2).T
        return np.asarray(_scores(energy, self.sizes).mean(axis=0), np.float64)

    def limit(self, share: float) -> float:
        """The score that the worst slot passes in at most this share of honest batches."""
        within = 1 - _share(self.groups, share)
        return float(self.largest[math.ceil(within * (len(self.largest) - 1))])


def leave_one_out(
    sample: Float64[np.ndarray, "m rows rows"],
    sizes: Sequence[int],
    groups: int,
    *,
    ridge: float,
) -> LeaveOneOut:
    """The test for responders with these moments.

    Args:
        sample: of single honest groups: products of centred results, means over entries.
        sizes: rows of each responder.
        groups: in the batch.
        ridge: added to variances, above 0.
    """
    extra = ridge * np.eye(sample.shape[1])
    part = np.arange(len(sample)) % min(FOLDS, len(sample))
    scores = np.empty((len(sample), len(sizes)))
    for fold in range(part.max() + 1):
        fresh = part == fold
        others = sample[~fresh] if not fresh.all() else sample
        whitening = _whitening(others.mean(axis=0) + extra, sizes)
        scored = whitening @ sample[fresh] * whitening  # only the diagonal of W C W' is needed
        scores[fresh] = _scores(np.maximum(scored.sum(axis=2), 0.0), sizes)
    pool = max(size for size in POOLS if size <= groups)
    if pool > 1:
        drawn = np.random.default_rng(pool).integers(len(scores), size=(DRAWS, pool))
        scores = scores[drawn].mean(axis=1)
    whitening = _whitening(sample.mean(axis=0) + extra, sizes)
    return LeaveOneOut(whitening, tuple(sizes), np.sort(scores.max(axis=1)), len(sample))


def _share(count: int, meant: float) -> float:
    """Share of `count` honest groups that the limit leaves beyond itself, for at most the share
    `meant` of all honest groups to be there: less of a small sample, which tells little of tails.

    How many of `count` are beyond a limit that exactly `meant` of all pass is binomial. As many are
    left as, with probability CONFIDENCE, that is at least (Wilks' tolerance limit). Moments that
    were measured in several groupings have each query in several groups, and promise a little less.
    """
    beyond: int = math.ceil(bdtrik(1 - CONFIDENCE, count, meant))
    return max(LEAST * meant, beyond / (count + 1))


def _whitening(covariance: Matrix, sizes: Sequence[int]) -> Matrix:
    """Block b times y is L_b' (P y)_b with P the inverse covariance and L_b L_b' = P_bb^-1.

    (P y)_b is P_bb times the residual of block b, whose covariance is P_bb^-1.
    """
    inverse = np.linalg.inv(covariance)
    whitening = np.empty_like(inverse)
    start = 0
    for size in sizes:
        block = slice(start, start + size)
        root = np.linalg.cholesky(np.linalg.inv(inverse[block, block]))
        whitening[block] = root.T @ inverse[block]
        start += size
    return whitening


def _scores(energy: Float64[np.ndarray, "g rows"], sizes: Sequence[int]) -> np.ndarray:
    """Of each slot in each group, [g, slots]: the root of the mean over its rows."""
    starts = np.cumsum([0, *sizes[:-1]])
    return np.asarray(np.sqrt(np.add.reduceat(energy, starts, axis=1) / np.array(sizes)))
