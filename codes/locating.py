"""Locating errors: which slots' results are wrong, judged from all results of a batch together.

A wrong result at a known slot is an erasure, which every code bears; locating turns errors into
erasures. `LocatesErrors` and `Doubts` are what codes promise, `misfits` the mathematics of exact
codes. Nothing here knows workers.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import final

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from codes.base import Code, Matrix
from codes.checks import in_order
from codes.linear import LinearDecoding

# Honest float32 results were off by at most 1e-6 of their size, over degrees 1 to 4, k up to 16 and
# all three kinds of points; what is within this changes a decoded answer no more than rounding may.
FIT_LIMIT = 2e-5
MOST_CHOICES = 20_000  # sets of slots that are compared at once: some tens of milliseconds
SMALLEST_LEVER = 1e-12  # a slot that no other can check
LARGEST_VALUE = 1e3  # in sizes of the group; a larger lie would hide a small one from float64

Values = Float64[np.ndarray, "rows g entries"]  # rows of the slots' results, in order


class TooManyErrors(ValueError):
    """The results do not fit together, and no set of slots that is small enough explains it.

    Attributes:
        slots: whose results were judged, sorted.
        most: how many of them were allowed to be wrong.
    """

    def __init__(self, slots: Sequence[int], most: int) -> None:
        self.slots, self.most = tuple(slots), most
        super().__init__(
            f"The results of slots {self.slots} do not fit together, and no {most} or fewer of "
            f"them explain it."
        )

    def __reduce__(self) -> tuple[type["TooManyErrors"], tuple[object, ...]]:
        return type(self), (self.slots, self.most)


def most_liars(code: Code) -> int:
    """How many wrong results the slots of a code outvote, if it locates errors: two slots each."""
    return max(0, (code.sent - max(code.recovery_threshold, code.k)) // 2)


class LocatesErrors(LinearDecoding):
    """A code that tells which of its slots returned something wrong."""

    @final
    def locate(
        self,
        results: Sequence[Float[Tensor, " g *answer"]],
        slots: Sequence[int],
        most: int,
        sure: Sequence[int] = (),
    ) -> tuple[int, ...]:
        """Judge the results of the slots that responded, over all groups and entries at once.

        Args:
            results: one a slot, as `decode` takes them, and finite.
            slots: `results[i]` is of `slots[i]`; any order.
            most: at most so many slots are named, 0 or more.
            sure: slots that are right; an exact code, which proves what it names, needs no telling.

        Returns:
            The slots whose results are wrong, ascending; empty where nothing speaks against any.

        Raises:
            TooManyErrors: of an exact code only: something is wrong, and more than `most` slots,
                or too few others to tell which.
            ValueError: slots out of range or twice, shapes that differ, a result that is not
                finite, or `most` below 0.
        """
        if most < 0:
            raise ValueError(f"Argument 'most' must be at least 0, not {most}.")
        values, ordered = self._finite(results, slots)
        return tuple(sorted(self._locate(values, ordered, most, frozenset(sure))))

    def _finite(
        self, results: Sequence[Float[Tensor, " g *answer"]], slots: Sequence[int]
    ) -> tuple[Values, tuple[int, ...]]:
        """Rows of sorted slots, and the slots."""
        results, ordered = in_order(results, slots, self.widths)
        rows = [row.detach().cpu().double().numpy() for row in self._unbound(results, ordered)]
        values = np.stack(rows).reshape(len(rows), len(rows[0]), -1)
        if not np.isfinite(values).all():
            bad = self._owners(ordered)[int(np.argmin(np.isfinite(values).all(axis=(1, 2))))]
            raise ValueError(f"Result of slot {bad} must be finite to be judged.")
        return values, ordered

    def _owners(self, slots: Sequence[int]) -> list[int]:
        """The slot of each of their rows."""
        return [slot for slot in slots for _ in self._rows[slot]]

    @abstractmethod
    def _locate(
        self, values: Values, slots: tuple[int, ...], most: int, sure: frozenset[int]
    ) -> Sequence[int]:
        """The wrong ones among sorted slots; `values` has their rows in order."""


class Doubts(LocatesErrors):
    """A code that proves nothing, as it goes by how far results are from each other: it also says
    whose result is worth having twice, of another worker."""

    @final
    def doubt(
        self,
        results: Sequence[Float[Tensor, " g *answer"]],
        slots: Sequence[int],
        share: float,
        sure: Sequence[int] = (),
    ) -> int | None:
        """The slot whose result fits the others' least, if so bad a fit is rare.

        Args:
            results: one a slot, as `decode` takes them, and finite.
            slots: `results[i]` is of `slots[i]`; any order.
            share: of honest batches in which a slot is named, above 0 and below 1.
            sure: slots that are not named.

        Raises:
            ValueError: slots out of range or twice, shapes that differ, a result that is not
                finite, or a share out of range.
        """
        if not 0 < share < 1:
            raise ValueError(f"Argument 'share' must be above 0 and below 1, not {share}.")
        values, ordered = self._finite(results, slots)
        return self._doubt(values, ordered, share, frozenset(sure))

    @final
    def misfit(
        self, results: Sequence[Float[Tensor, " g *answer"]], slots: Sequence[int], slot: int
    ) -> float:
        """How far a slot's result is from what the others say of it; about 1 is usual.

        Args:
            results: one a slot, as `decode` takes them, and finite.
            slots: `results[i]` is of `slots[i]`; any order.
            slot: one of them.

        Raises:
            ValueError: slots out of range or twice, shapes that differ, a result that is not
                finite, or a slot that is none of them.
        """
        values, ordered = self._finite(results, slots)
        if slot not in ordered:
            raise ValueError(f"Argument 'slot' must be one of {ordered}, not {slot}.")
        return self._misfit(values, ordered, slot)

    @final
    def prefers(
        self,
        results: Sequence[Float[Tensor, " g *answer"]],
        slots: Sequence[int],
        slot: int,
        other: Float[Tensor, " g *answer"],
    ) -> bool:
        """Whether another result of a slot fits the others better than the one that is given.

        Args:
            results, slots, slot: as of `misfit`.
            other: of the slot.

        Raises:
            ValueError: as `misfit` does.
        """
        changed = [other if s == slot else own for s, own in zip(slots, results, strict=True)]
        return self.misfit(changed, slots, slot) < self.misfit(results, slots, slot)

    @abstractmethod
    def _doubt(
        self, values: Values, slots: tuple[int, ...], share: float, sure: frozenset[int]
    ) -> int | None: ...

    @abstractmethod
    def _misfit(self, values: Values, slots: tuple[int, ...], slot: int) -> float: ...


def misfits(
    frame: Float64[np.ndarray, "s r"], values: Float64[np.ndarray, "s g entries"], most: int
) -> tuple[int, ...] | None:
    """The fewest rows without which the values lie in the column space of the frame, to rounding.

    With s >= r + 2 e rows no other e explain what e wrong rows did, so that many are named at most.
    The rows are found by parity checks: the projection N onto what is orthogonal to the frame gives
    every row's residual, and leaving out rows D takes tr(N_DD^-1 (N V V' N)_DD) off their squares.
    First one row after the other is left out, the one that takes most; where that ends wrong, all
    sets of a size are compared, as far as they are not too many. What is named has been verified.

    Args:
        frame: basis functions at the rows' points, of full rank in any r rows.
        values: of honest rows within `FIT_LIMIT` of frame times something, relative to the group's
            size: the median over rows of its largest entry.
        most: at most so many rows.

    Returns:
        Positions of the rows, ascending; None where no set that may be named explains it.
    """
    s, r = frame.shape
    every = np.arange(s)
    if _fits(frame, values):
        return ()
    most = min(most, (s - r) // 2)
    kept = every
    for _ in range(most):
        lever, energy = _residuals(frame[kept], values[kept])
        taken = np.diag(energy) / np.maximum(np.diag(lever), SMALLEST_LEVER)
        kept = np.delete(kept, np.argmax(taken))
        if _fits(frame[kept], values[kept]):
            return tuple(np.setdiff1d(every, kept).tolist())
    for size in range(2, most + 1):
        if comb(s, size) > MOST_CHOICES:
            break
        lever, energy = _residuals(frame, values)
        choices = np.array(list(combinations(range(s), size)))
        corner = choices[:, :, None], choices[:, None, :]
        levers = lever[corner] + SMALLEST_LEVER * np.eye(size)
        taken = np.einsum("cij,cji->c", np.linalg.inv(levers), energy[corner])
        left_out = choices[np.argmax(taken)]
        kept = np.delete(every, left_out)
        if _fits(frame[kept], values[kept]):
            return tuple(left_out.tolist())
    return None


def _fits(frame: Matrix, values: Float64[np.ndarray, "s g entries"]) -> bool:
    q, _ = np.linalg.qr(frame)
    flat = values.reshape(len(values), -1)
    rest = (flat - q @ (q.T @ flat)).reshape(values.shape)
    is_close = np.abs(rest).max(axis=(0, 2)) <= FIT_LIMIT * _sizes(values)
    return bool(is_close.all())


def _sizes(values: Float64[np.ndarray, "s g entries"]) -> Float64[np.ndarray, " g"]:
    """Of each group; a few wrong rows, however large, do not change it much."""
    return np.asarray(np.median(np.abs(values).max(axis=2), axis=0), np.float64)


def _residuals(frame: Matrix, values: Float64[np.ndarray, "s g entries"]) -> tuple[Matrix, Matrix]:
    """The projection N [s, s] onto what the frame cannot be, and N V V' N, V in groups' sizes."""
    q, _ = np.linalg.qr(frame)
    sizes = _sizes(values)
    scaled = values / np.where(sizes > 0, sizes, 1.0)[:, None]
    scaled = np.clip(scaled, -LARGEST_VALUE, LARGEST_VALUE)
    checks = np.eye(len(frame)) - q @ q.T
    rest = checks @ scaled.reshape(len(values), -1)
    return checks, rest @ rest.T
