"""Calibrated decoding: the best affine decoder for a program, measured on unlabelled queries.

`Calibrated` wraps a linear code and replaces its decoder; `codes.moments` measures what it needs.
In a query's way it stands where the code stood. It trains nothing and keeps no query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from codes.base import Code, Matrix, Vector, remember
from codes.exact_case import ExactCase
from codes.linear import LinearDecoding
from codes.locating import Doubts, Values, most_liars
from codes.moments import Moments, measure_moments
from codes.residuals import POOLS, LeaveOneOut, leave_one_out

TESTS_KEPT = 1024  # of up to 32 kB, for the scores of honest batches

__all__ = ["Calibrated", "Moments", "measure_moments"]


@final
@dataclass(frozen=True)
class Calibrated(Doubts):
    """LMMSE decoder around a linear code, approximate: least expected squared error of all affine
    decoders, and that error is known before anything is decoded.

    Group, roles, encode, own slots, threshold: of the wrapped code. Own answers are copied.
    Decode: y = mean_t + D (results - mean_c), D = C_tc (C_cc + eps I)^-1 over the responders.
    Expected error: 1 - C_tc (C_cc + eps I)^-1 C_ct / C_tt, per answer; it never grows with a
    further responder.
    Cost: as the wrapped code, and one addition an entry.
    An answer is decodable where the wrapped code decodes it, and wherever else the responders tell
    something of it: where its expected error is at most `error_limit`. So below the wrapped code's
    threshold most answers are still estimated, each with its expected error; what would be no
    better than the mean is refused, as a lost answer of uncoded or replication always is.
    `recovery_threshold` stays the wrapped code's: from so many slots on nothing is refused.

    Locates errors: a result that is too far from what the others say of it is accused, one by one,
    the worst first. What is too far was measured on honest results, meant such that in at most a
    share `false_alarms` of honest batches anybody is accused, by a sample's tail. A lie that is
    no larger than the code's own error is not seen. It never says that there are too many.

    Source: design of this project; textbook linear estimation.

    Args:
        code: any code that decodes linearly and is not itself calibrated.
        moments: measured with this very code and the program that will be served.
        ridge: eps as a share of the results' mean variance, above 0.
        error_limit: largest expected error of an answer that the wrapped code does not decode,
            above 0 and below 1; lower it to refuse and send again sooner.
        false_alarms: share of honest batches in which a slot may be accused, above 0 and below 1.

    Raises:
        ValueError: moments of other sizes, or a parameter outside of its limits.
    """

    name: ClassVar[str] = "calibrated"
    summary: ClassVar[str] = "another code with the best affine decoder for a program"
    exact: ClassVar[bool] = False

    code: Code
    moments: Moments
    ridge: float = 1e-4
    error_limit: float = 0.99  # beyond it is the mean, up to what chance shows in the moments
    false_alarms: float = 0.01
    k: int = field(init=False, repr=False)
    n: int = field(init=False, repr=False)

    def __str__(self) -> str:
        """For a person; the repr has the whole configuration."""
        return f"{self.code}, calibrated"

    def __post_init__(self) -> None:
        if not isinstance(self.code, LinearDecoding) or isinstance(self.code, Calibrated):
            raise ValueError(
                f"Argument 'code' must decode linearly, not calibrated yet, not {self.code!r}."
            )
        if self.code.pads:
            raise ValueError(f"Argument 'code' must have no pads, not {self.code.pads}.")
        object.__setattr__(self, "k", self.code.k)
        object.__setattr__(self, "n", self.code.n)
        sizes, rows = (self.moments.k, self.moments.rows), len(self.code.responses)
        if sizes != (self.k, rows):
            raise ValueError(
                f"Argument 'moments' must be of k = {self.k} and {rows} rows of results, "
                f"not {sizes[0]} and {sizes[1]}."
            )
        if not 0 < self.ridge <= 1:
            raise ValueError(f"Argument 'ridge' must be above 0, at most 1, not {self.ridge!r}.")
        if not 0 < self.error_limit < 1:
            raise ValueError(
                f"Argument 'error_limit' must be above 0 and below 1, not {self.error_limit!r}."
            )
        if not 0 < self.false_alarms < 1:
            raise ValueError(
                f"Argument 'false_alarms' must be above 0 and below 1, not {self.false_alarms!r}."
            )

    @property
    def q(self) -> int:
        """Of the wrapped code."""
        return self.code.q

    @cached_property
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """Of the wrapped code."""
        return self.code.own_slots

    @property
    def model_roles(self) -> tuple[str, ...]:
        """Of the wrapped code."""
        return self.code.model_roles

    def first_slots(self, answers: Sequence[int]) -> tuple[int, ...]:
        """Of the wrapped code."""
        return self.code.first_slots(answers)

    def residual(self, results: Sequence[Float[Tensor, " g *answer"]]) -> float | None:
        """Of the wrapped code."""
        return self.code.residual(results)

    def suspects(self, results: Sequence[Float[Tensor, " g *answer"]]) -> tuple[int, ...]:
        """Whose results seem to be wrong, by the moments; all slots, where too few are spare to
        tell whose: then each is the check of all others together."""
        lied = self.locate(results, range(self.n), 1)
        return lied if not lied or most_liars(self) else tuple(range(self.n))

    def prepare(self) -> None:
        """Compute what the first judged batches would wait for: what is usual of honest results."""
        for groups in POOLS:
            self._test(tuple(range(self.n)), groups)

    @property
    def recovery_threshold(self) -> int:
        """Of the wrapped code; fewer slots may do."""
        return self.code.recovery_threshold

    @property
    def spares(self) -> int:
        """Of the wrapped code."""
        return self.code.spares

    @property
    def usual_responders(self) -> int:
        """Of the wrapped code."""
        return self.code.usual_responders

    @property
    def roles(self) -> tuple[str, ...]:
        """Of the wrapped code."""
        return self.code.roles

    @property
    def exact_case(self) -> ExactCase:
        """None but own answers: what is decoded is an estimate, and says how good."""
        return ExactCase("any", (), 1, "own answers; of the others the expected error is right")

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the wrapped code."""
        return self.code.widths

    @property
    def query_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the wrapped code."""
        return self.code.query_shapes

    @property
    def answer_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The one that the moments were measured with."""
        return (self.moments.answer_mean.shape[1:],)

    def _responses(self) -> Matrix:
        assert isinstance(self.code, LinearDecoding)  # checked when made
        return self.code.responses

    def _encode(self, queries: Tensor) -> list[Tensor]:
        return self.code._encode(queries)

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        decoder, error = self._lmmse(slots)
        is_decodable = np.isfinite(self.code.gain(slots)) | (error <= self.error_limit)
        return np.where(is_decodable[:, None], decoder, np.nan)

    def _bias(self, slots: tuple[int, ...]) -> np.ndarray:
        decoder, _ = self._lmmse(slots)
        mean: np.ndarray = self.moments.result_mean[self.rows_of(slots)]
        return np.asarray(self.moments.answer_mean - np.tensordot(decoder, mean, 1), np.float64)

    def _expected_error(self, slots: tuple[int, ...]) -> Vector:
        _, error = self._lmmse(slots)
        error = np.where(np.isfinite(self._known_gain(slots)), error, np.inf)
        error[self._has_own(slots)] = 0.0
        return error

    def _locate(
        self, values: Values, slots: tuple[int, ...], most: int, sure: frozenset[int]
    ) -> Sequence[int]:
        left, accused = slots, list[int]()
        while len(accused) < most:
            worst = self._doubt(values, left, self.false_alarms, sure)
            if worst is None:
                break
            kept = [row for row, slot in enumerate(self._owners(left)) if slot != worst]
            values, left = values[kept], tuple(slot for slot in left if slot != worst)
            accused.append(worst)
        return accused

    def _doubt(
        self, values: Values, slots: tuple[int, ...], share: float, sure: frozenset[int]
    ) -> int | None:
        candidates = [place for place, slot in enumerate(slots) if slot not in sure]
        if len(slots) < 2 or not candidates:
            return None
        test = self._test(slots, values.shape[1])
        scores = test.scores(self._centred(values, slots))
        worst = max(candidates, key=lambda place: scores[place])
        return slots[worst] if scores[worst] > test.limit(share) else None

    def _misfit(self, values: Values, slots: tuple[int, ...], slot: int) -> float:
        scores = self._test(slots, values.shape[1]).scores(self._centred(values, slots))
        return float(scores[slots.index(slot)])

    def _centred(self, values: Values, slots: Sequence[int]) -> Values:
        mean = self.moments.result_mean.reshape(self.moments.rows, 1, -1)
        return np.asarray(values - mean[self.rows_of(slots)], np.float64)

    def _test(self, slots: tuple[int, ...], groups: int) -> LeaveOneOut:
        key = (slots, max(size for size in POOLS if size <= groups))
        test = self._tests.get(key)
        if test is None:
            chosen = self.rows_of(slots)
            sample = self.moments.group_covs[:, chosen][:, :, chosen]
            sizes = [len(self._rows[slot]) for slot in slots]
            test = leave_one_out(sample, sizes, groups, ridge=self._eps)
            remember(self._tests, key, test, TESTS_KEPT)
        return test

    @cached_property
    def _tests(self) -> dict[tuple[tuple[int, ...], int], LeaveOneOut]:
        """Of responder sets seen and numbers of groups."""
        return {}

    def _has_own(self, slots: Sequence[int]) -> list[int]:
        return [j for j, own in enumerate(self.own_slots) if any(slot in slots for slot in own)]

    def _lmmse(self, slots: tuple[int, ...]) -> tuple[Matrix, Vector]:
        """Decoder [k, s] and expected error [k], as if there were no own answers."""
        chosen = self.rows_of(slots)
        within = self.moments.result_cov[np.ix_(chosen, chosen)] + self._eps * np.eye(len(chosen))
        across = self.moments.cross_cov[:, chosen]
        decoder = np.linalg.solve(within, across.T).T
        variance = np.diag(self.moments.answer_cov)
        explained = np.einsum("ks,ks->k", decoder, across)
        # Answers that never vary are their mean.
        error = 1 - np.divide(explained, variance, out=np.ones(self.k), where=variance > 0)
        return decoder, np.clip(error, 0.0, 1.0)

    @cached_property
    def _eps(self) -> float:
        variance = float(np.diag(self.moments.result_cov).mean())
        return self.ridge * (variance if variance > 0 else 1.0)
