"""The contract catches broken codes: a planted fault is a working code with one thing broken.

Each check has at least one that it alone is asked to catch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from codes import contract, verify
from codes.base import Code, Matrix, Vector
from codes.berrut import Berrut
from codes.calibrated import Calibrated, measure_moments
from codes.parity import Parity
from codes.replication import Replication


@dataclass(frozen=True)
class Faulty(Parity):  # type: ignore[misc]  # final for readers; a fault is planted here
    """A parity code to break; equal to nothing else."""


class OneShardTooMany(Faulty):
    def _encode(self, queries: Tensor) -> list[Tensor]:
        return [*super()._encode(queries), queries[:, 0]]


class StridedShards(Faulty):
    def _encode(self, queries: Tensor) -> list[Tensor]:
        return [queries[:, 0], *super()._encode(queries)[1:]]


class LeavesDtype(Faulty):
    def _encode(self, queries: Tensor) -> list[Tensor]:
        return [shard.float() for shard in super()._encode(queries)]


class SumsInHalf(Faulty):
    def _encode(self, queries: Tensor) -> list[Tensor]:
        if queries.dtype.itemsize > 2:
            return super()._encode(queries)
        parity = queries[:, 0] * self.generator[self.k, 0]
        for j in range(1, self.k):
            parity = parity + queries[:, j] * self.generator[self.k, j]
        return [
            *super()._encode(queries)[: self.k],
            parity,
            *super()._encode(queries)[self.k + 1 :],
        ]


class SlightlyOffWeight(Faulty):
    """Decodes with other weights than it encodes with: wrong by 1e-4, unseen by any accuracy."""

    def _solution(self, slots: tuple[int, ...]) -> Matrix:
        solution = super()._solution(slots)
        return np.where(solution == 1, solution, solution * (1 + 1e-4))


class RefusesOneSet(Faulty):
    def _gain(self, slots: tuple[int, ...]) -> np.ndarray:
        gain = super()._gain(slots)
        return np.full(self.k, np.inf) if slots == (0, 1, 3, 5) else gain


class GuessesBelowThreshold(Faulty):
    def _solution(self, slots: tuple[int, ...]) -> Matrix:
        return np.nan_to_num(super()._solution(slots), nan=0.25)


class TooLowThreshold(Faulty):
    @property
    def recovery_threshold(self) -> int:
        return self.k - 1


class TooHighThreshold(Faulty):
    @property
    def recovery_threshold(self) -> int:
        return self.k + 1


class LosesAnswers(Faulty):
    def _gain(self, slots: tuple[int, ...]) -> np.ndarray:
        gain = super()._gain(slots)
        gain[0] = np.inf if len(slots) == self.n - 1 and 0 not in slots else gain[0]
        return gain


class FirstSlotsOnly(Faulty):
    """Leaves out responders beyond k, so that a further one can cost gain."""

    def _solution(self, slots: tuple[int, ...]) -> Matrix:
        solution = np.zeros((self.k, len(slots)))
        few = len(slots) if len(slots) <= self.k else self.k
        solution[:, len(slots) - few :] = super()._solution(slots[len(slots) - few :])
        return solution


class OwnByProduct(Faulty):
    """Computes own answers: nearly right, and not safe from a neighbour's NaN."""

    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        matrix = torch.from_numpy(self._solution(slots)[list(answers)]).to(results[0].dtype)
        return torch.einsum("as,s...->a...", matrix, torch.stack(list(results))).transpose(0, 1)


class LetsNaNThrough(Faulty):
    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        sick = any(not torch.isfinite(result).all() for result in results)
        clean = [torch.nan_to_num(result) for result in results]
        decoded = super()._decode(clean if sick else results, slots, answers)
        return decoded * torch.nan if sick else decoded


class DependsOnOrder(Faulty):
    def decode(  # type: ignore[misc]  # final for codes; a fault is planted here
        self, results: Sequence[Tensor], slots: Sequence[int], answers: Sequence[int] | None = None
    ) -> Tensor:
        super().decode(results, slots, answers)
        wanted = range(self.k) if answers is None else answers
        return self._decode(results, tuple(slots), tuple(wanted))


class AnswersSorted(Faulty):
    def decode(  # type: ignore[misc]
        self, results: Sequence[Tensor], slots: Sequence[int], answers: Sequence[int] | None = None
    ) -> Tensor:
        return super().decode(results, slots, answers and sorted(answers))


class TakesAnySlots(Faulty):
    def gain(self, slots: Sequence[int]) -> Vector:  # type: ignore[misc]
        return super().gain(sorted({slot % self.n for slot in slots}))


class SubtractsInPlace(Faulty):
    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        decoded = super()._decode(results, slots, answers)
        results[-1].sub_(results[0])
        return decoded


class SharesMemory(Faulty):
    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        decoded = super()._decode(results, slots, answers)
        same = [answer for answer in answers if answer in slots]
        if list(answers) == same == [answers[0]]:
            return results[slots.index(answers[0])].unsqueeze(1)
        return decoded


class WritesQueries(Faulty):
    def _encode(self, queries: Tensor) -> list[Tensor]:
        shards = [shard.clone() for shard in super()._encode(queries)]
        queries[:, 0].mul_(0.5)
        return shards


class Clamps(Faulty):
    def _encode(self, queries: Tensor) -> list[Tensor]:
        return [shard.clamp(-1, 1) for shard in super()._encode(queries)]


class ClampsAnswers(Faulty):
    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        return super()._decode(results, slots, answers).clamp(-1, 1)


class Drifts(Faulty):
    calls: ClassVar[list[int]] = []

    def _encode(self, queries: Tensor) -> list[Tensor]:
        self.calls.append(1)
        shards = super()._encode(queries)
        return [*shards[:-1], shards[-1] * (1 + 1e-6 * len(self.calls))]


class CentresTheBatch(Faulty):
    def _encode(self, queries: Tensor) -> list[Tensor]:
        shards = super()._encode(queries)
        return [*shards[:-1], shards[-1] - shards[-1].mean(0) + shards[-1].mean(0).roll(1)]


class AnswersOfNeighbour(Faulty):
    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        decoded = super()._decode(results, slots, answers)
        return decoded * (1 + 1e-3) if len(answers) == 1 else decoded


class ClaimsNoError(Faulty):
    exact: ClassVar[bool] = True

    def _expected_error(self, slots: tuple[int, ...]) -> np.ndarray | None:
        return None


class Modest(Faulty):
    def _expected_error(self, slots: tuple[int, ...]) -> np.ndarray | None:
        return np.full(self.k, 0.5)


class HidesItself(Faulty):
    def __repr__(self) -> str:
        return "HidesItself()"


class TakesAnySize(Faulty):
    def __post_init__(self) -> None:
        return


class OriginalSigns(Berrut):  # type: ignore[misc]
    """Signs that alternate over all slots, not over the responders: poles, and still sums to 1."""

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        terms = (-1.0) ** np.array(slots) / (
            self.query_points[:, None] - self.slot_points[list(slots)][None, :]
        )
        return np.asarray(terms / terms.sum(axis=1, keepdims=True) * 1.001)


class WrongCopies(Replication):  # type: ignore[misc]
    def _solution(self, slots: tuple[int, ...]) -> Matrix:
        return np.roll(super()._solution(slots), 1, axis=0)


class Boastful(Calibrated):  # type: ignore[misc]
    """Says half of the error that it makes."""

    def _expected_error(self, slots: tuple[int, ...]) -> np.ndarray:
        error = super()._expected_error(slots)
        return np.asarray(error * 0.5)


class OwnError(Calibrated):  # type: ignore[misc]
    def _expected_error(self, slots: tuple[int, ...]) -> np.ndarray:
        return np.maximum(super()._expected_error(slots), 0.01)


class NoMean(Calibrated):  # type: ignore[misc]
    def _bias(self, slots: tuple[int, ...]) -> np.ndarray:
        return np.asarray(super()._bias(slots) + 2.0)


def broken(kind: type[Calibrated]) -> Calibrated:
    """A calibrated parity code with the moments of a small fixed network."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(6, 16, generator=generator)
    last = torch.randn(16, 3, generator=generator)
    queries = torch.randn(400, 6, generator=generator)
    code = Parity(4, 6)
    moments = measure_moments(code, lambda x: torch.tanh(x @ first) @ last, queries, seed=1)
    return kind(code, moments)


PLANTED: list[tuple[Any, Code]] = [
    (contract.check_shapes, OneShardTooMany(4, 6)),
    (contract.check_shapes, StridedShards(4, 6)),
    (contract.check_dtypes, LeavesDtype(4, 6)),
    (contract.check_dtypes, SumsInHalf(6, 8)),
    (contract.check_subsets, SlightlyOffWeight(4, 6)),
    (contract.check_subsets, RefusesOneSet(4, 6)),
    (contract.check_subsets, GuessesBelowThreshold(4, 6)),
    (contract.check_subsets, OriginalSigns(4, 8)),
    (contract.check_subsets, broken(Boastful)),
    (contract.check_subsets, broken(NoMean)),
    (contract.check_threshold, TooLowThreshold(4, 6)),
    (contract.check_threshold, TooHighThreshold(4, 6)),
    (contract.check_gain, LosesAnswers(4, 6)),
    (contract.check_gain, FirstSlotsOnly(4, 6)),
    (contract.check_own_answers, OwnByProduct(4, 6)),
    (contract.check_not_finite, LetsNaNThrough(4, 6)),
    (contract.check_order, DependsOnOrder(4, 6)),
    (contract.check_order, AnswersSorted(4, 6)),
    (contract.check_refusals, TakesAnySlots(4, 6)),
    (contract.check_arguments_unchanged, SubtractsInPlace(4, 6)),
    (contract.check_arguments_unchanged, SharesMemory(1, 3)),
    (contract.check_arguments_unchanged, WritesQueries(4, 6)),
    (contract.check_linearity, Clamps(4, 6)),
    (contract.check_linearity, ClampsAnswers(4, 6)),
    (contract.check_determinism, Drifts(4, 6)),
    (contract.check_groups_apart, CentresTheBatch(4, 6)),
    (contract.check_some_answers, AnswersOfNeighbour(4, 6)),
    (contract.check_expected_error, ClaimsNoError(4, 6)),
    (contract.check_expected_error, Modest(4, 6)),
    (contract.check_expected_error, broken(OwnError)),
    (contract.check_configuration, HidesItself(4, 6)),
    (contract.check_configuration, TakesAnySize(4, 6)),
    (contract.check_own_answers, WrongCopies(4, 6)),
]


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, _ in PLANTED} == set(contract.CHECKS)


@pytest.mark.parametrize(
    ("check", "code"), PLANTED, ids=[f"{c.__name__}-{type(code).__name__}" for c, code in PLANTED]
)
def test_a_planted_fault_is_caught(check: Any, code: Code) -> None:
    with pytest.raises(AssertionError):
        contract.check_code(code, [check])


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_unbroken_twin_passes(check: Any) -> None:
    check(Faulty(4, 6))


def test_verify_tells_refused_from_silently_wrong() -> None:
    assert verify.verify(Parity(4, 6)).exit_code == 0
    refusing = verify.verify(RefusesOneSet(4, 6))
    assert (refusing.exit_code, refusing.unkept) == (1, ((0, 1, 3, 5),))
    assert "REFUSED" in refusing.lines()[-1]
    wrong = verify.verify(SlightlyOffWeight(4, 6))
    assert wrong.exit_code == 3
    assert "SILENTLY WRONG" in wrong.lines()[-1]
