"""COIN: coding over models. Merged models stand for means of several, and decode lost ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from codes.base import Matrix, Vector, remember
from codes.calibrated import Calibrated
from codes.checks import check_choice, check_size, in_order
from codes.exact_case import ExactCase, identity_rows
from codes.linear import HALF, LeastSquares
from codes.locating import Doubts, Values
from codes.merging import checked_rows, coin_roles, vandermonde_rows
from codes.moments import take_moments
from codes.neural import Weights
from codes.regression import Regression, regress, usual_ridge

__all__ = ["DECODINGS", "OUTPUTS", "Coin", "coin_roles", "vandermonde_rows"]

DECODINGS = ("fixed", "fitted")
OUTPUTS = "outputs"  # the tensor that a merged model is kept with
MOST_PREPARED = 50  # sets of lost slots, of a size


@final
@dataclass(frozen=True)
class Coin(LeastSquares, Doubts):
    """Coding over models, approximate: k models answer one query, and r merged ones decode lost
    answers. For clients that want the answers of all models, or their mean; where one model's is
    all that is wanted, a copy of that model is cheaper.

    Group: q = 1 query, k models. Roles: "model-i", then "coded-i". Threshold: k.
    Exact case: coded models that return the weighted sums that they stand for, as merged models of
    programs do that are linear in their weights.
    Encode: every shard is the query, in one tensor.
    Decode, "fixed": coded model i returns about sum_j weights[i][j] y_j; least squares over all
    responders' rows. "fitted": ridge regression of each lost answer on all entries of all results,
    in closed form for every set of responders, from `outputs`.
    Expected error: of "fitted", the share of the answers' variance that the regression leaves.
    Cost: encode none, decode lost * s |y| multiply-adds, or lost * s |y|^2 fitted; worker 1x.
    Locates errors: with `outputs` and r >= 2, as `codes.calibrated` does, within the merged models'
    own error. With r = 1 `suspects` still says that somebody returned something wrong.
    Source: [jhunjhunwala2024]. The regression, r > 1 and locating are this project's.

    Args:
        k: models, 1 to 256.
        n: slots, k to 256; r = n - k of them run merged models.
        weights: a row of k weights for each merged model; by default `vandermonde_rows`.
        decoding: "fixed" or "fitted".
        outputs: of all n programs on unlabelled calibration queries: one tensor "outputs",
            [m, n, *answer], in the order of the slots.

    Raises:
        ValueError: weights of another shape or that do not decode from any k slots, or outputs of
            another shape.
    """

    name: ClassVar[str] = "coin"
    summary: ClassVar[str] = "over models: merged ones decode the answers of lost ones"
    source: ClassVar[str] = "jhunjhunwala2024"
    exact: ClassVar[bool] = False

    k: int
    n: int
    weights: Sequence[Sequence[float]] | None = None
    decoding: str = "fixed"
    outputs: Weights | None = None

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k, "k")
        check_choice("decoding", self.decoding, DECODINGS)
        rows = checked_rows(self.weights, self.k, self.n - self.k)
        object.__setattr__(self, "weights", rows)
        if self.outputs is not None:
            self._check_outputs(self.outputs)

    @property
    def q(self) -> int:
        """One query, which all models answer."""
        return 1

    @property
    def model_roles(self) -> tuple[str, ...]:
        """All k of them."""
        return coin_roles(self.k, 0)

    @property
    def roles(self) -> tuple[str, ...]:
        """A role for each model and for each merged one."""
        return coin_roles(self.k, self.n - self.k)

    @property
    def is_trained(self) -> bool:
        """A fitted decoder needs the sample that it is fitted to."""
        return self.decoding == "fixed" or self.outputs is not None

    @property
    def recovery_threshold(self) -> int:
        """As many slots as there are models."""
        return self.k

    @cached_property
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """Slot j is answer j."""
        return tuple((j,) for j in range(self.k))

    @property
    def exact_case(self) -> ExactCase:
        """Any programs, with ideal merged models; fitted to others, own answers only."""
        if self.decoding == "fitted":
            says = "own answers; lost ones are as good as the sample that they are fitted to"
            return ExactCase("any", identity_rows(1), self.n + 1, says)
        says = f"any models, from any {self.k} slots, if merged ones return the sums they stand for"
        return ExactCase("any", identity_rows(1), self.k, says)

    @property
    def answer_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The one that `outputs` have, where there are any."""
        return super().answer_shapes if self.outputs is None else (self._sample.shape[2:],)

    def first_slots(self, answers: Sequence[int]) -> tuple[int, ...]:
        """Own slots only, where not all models are asked: each costs one forward pass, and what a
        lost one needs would cost k."""
        return tuple(range(self.n)) if len(answers) == self.k else tuple(sorted(answers))

    @property
    def merging_weights(self) -> Matrix:
        """A row of weights for each merged model, [r, k]."""
        return self.responses[self.k :]

    def merged(self, slots: Sequence[int]) -> Matrix:
        """By which results the mean of all models is known from the first merged model alone,
        [1, s]; NaN where it is not among these sorted slots."""
        row = np.full((1, len(slots)), np.nan)
        if self.k in slots:
            row[:] = 0.0
            row[0, list(slots).index(self.k)] = 1 / self.merging_weights[0].sum()
        return row

    def error_of(self, slots: Sequence[int], decoder: Vector, weights: Vector) -> float:
        """What a linear decoder leaves of the variance of a weighted sum of the answers, on the
        sample."""
        told = np.tensordot(decoder, self._sample[:, list(slots)], (0, 1))
        truth = np.tensordot(weights, self._sample[:, : self.k], (0, 1))
        variance = float(truth.var(axis=0).sum())
        error = float(np.square(told - truth).mean(axis=0).sum())
        return min(error / variance, 1.0) if variance else 0.0

    @property
    def can_judge(self) -> bool:
        """Whether it has the sample by which results are judged, and merged models to judge by."""
        return self.outputs is not None and self.n > self.k

    def prepare(self) -> None:
        """Compute what the first batches would wait for: the regressions of few losses, and what
        is usual of honest results."""
        if self.decoding == "fitted":
            for lost in range(1, self.n - self.k + 1):
                for gone in islice(combinations(range(self.n), lost), MOST_PREPARED):
                    self._regression(tuple(slot for slot in range(self.n) if slot not in gone))
        if self.can_judge:
            self._judge.prepare()

    def residual(self, results: Sequence[Float[Tensor, " g *answer"]]) -> float:
        """How far merged models are from the sums that they stand for, by the results of all slots.

        Returns:
            The root of the squared difference over the squared sums, of all groups together: the
            size of the code's own noise, while nobody lies and no model has changed.
        """
        ordered, _ = in_order(results, range(self.n), self.widths)
        values = np.stack([result.detach().cpu().double().numpy() for result in ordered])
        wanted = np.tensordot(self.merging_weights, values[: self.k], 1)
        size = float(np.square(wanted).sum())
        return float(np.sqrt(np.square(values[self.k :] - wanted).sum() / size)) if size else 0.0

    def suspects(self, results: Sequence[Float[Tensor, " g *answer"]]) -> tuple[int, ...]:
        """Whose results seem to be wrong, by the sample; nobody's, where there is none. With one
        merged model all are named."""
        return self._judge.suspects(results) if self.can_judge else ()

    def _responses(self) -> Matrix:
        return np.vstack([np.eye(self.k), np.array(self.weights).reshape(-1, self.k)])

    def _encode(self, queries: Tensor) -> list[Tensor]:
        return [queries[:, 0].contiguous()] * self.n

    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        lost = tuple(j for j in answers if j not in slots)
        if self.decoding == "fixed" or not lost:
            return super()._decode(results, slots, answers)
        for slot, result in zip(slots, results, strict=True):
            if not torch.isfinite(result).all():
                raise ValueError(f"Result of slot {slot} must be finite to be decoded from.")
        first = results[0]
        if first.shape[1:] != self._sample.shape[2:]:
            raise ValueError(
                f"Results must have answers of shape {list(self._sample.shape[2:])}, as 'outputs' "
                f"has them, not {list(first.shape[1:])}."
            )
        matrix, bias = self._fit(slots, lost, first)
        entries = torch.cat([result.flatten(1) for result in results], 1)
        estimates = torch.addmm(bias, entries.to(matrix.dtype), matrix).to(first.dtype)
        decoded = dict(zip(lost, estimates.view(len(first), len(lost), -1).unbind(1), strict=True))
        by_slot = dict(zip(slots, results, strict=True))
        made = [decoded[j].view(first.shape) if j in decoded else by_slot[j] for j in answers]
        return torch.stack(made, 1)

    def _expected_error(self, slots: tuple[int, ...]) -> Vector | None:
        if self.decoding == "fixed":
            return None
        is_decoded = np.isfinite(self._known_gain(slots))
        error = np.where(is_decoded, self._regression(slots).error, np.inf)
        error[[slot for slot in slots if slot < self.k]] = 0.0
        return error

    def _locate(
        self, values: Values, slots: tuple[int, ...], most: int, sure: frozenset[int]
    ) -> Sequence[int]:
        return self._judge._locate(values, slots, most, sure)

    def _doubt(
        self, values: Values, slots: tuple[int, ...], share: float, sure: frozenset[int]
    ) -> int | None:
        return self._judge._doubt(values, slots, share, sure)

    def _misfit(self, values: Values, slots: tuple[int, ...], slot: int) -> float:
        return self._judge._misfit(values, slots, slot)

    # What is computed once.

    @cached_property
    def _sample(self) -> np.ndarray:
        """`outputs`, float64 [m, n, *answer]."""
        assert self.outputs is not None  # asked for where there are some
        return np.asarray(self.outputs.tensors[OUTPUTS].double().numpy(), np.float64)

    @cached_property
    def _judge(self) -> Calibrated:
        if self.outputs is None:
            raise ValueError("Argument 'outputs' must be given to tell whose results are wrong.")
        plain = Coin(self.k, self.n, self.weights)
        return Calibrated(plain, take_moments(self._sample[:, : self.k], self._sample))

    @cached_property
    def _regressions(self) -> dict[tuple[int, ...], Regression]:
        """Of all answers, by the responders seen."""
        return {}

    def _regression(self, slots: tuple[int, ...]) -> Regression:
        known = self._regressions.get(slots)
        if known is None:
            flat = self._sample.reshape(*self._sample.shape[:2], -1)
            known = regress(flat[:, list(slots)], flat[:, : self.k], usual_ridge(flat))
            remember(self._regressions, slots, known)
        return known

    @cached_property
    def _fits(self) -> dict[object, tuple[Tensor, Tensor]]:
        """Matrices and biases as they are applied."""
        return {}

    def _fit(
        self, slots: tuple[int, ...], answers: tuple[int, ...], like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Matrix [entries of results, of answers] and bias, of the dtype of the product."""
        key = (slots, answers, like.dtype, like.device)
        fit = self._fits.get(key)
        if fit is None:
            dtype = torch.float32 if like.dtype in HALF else like.dtype
            known = self._regression(slots)
            size = len(known.bias) // self.k
            columns = np.concatenate([np.arange(j * size, (j + 1) * size) for j in answers])
            parts = known.matrix[:, columns], known.bias[columns]
            matrix, bias = (torch.from_numpy(part).to(like.device, dtype) for part in parts)
            fit = (matrix, bias)
            remember(self._fits, key, fit)
        return fit

    def _check_outputs(self, outputs: Weights) -> None:
        given = outputs.tensors.get(OUTPUTS)
        if given is None or given.ndim < 2 or len(given) < 2 or given.shape[1] != self.n:
            shape = None if given is None else list(given.shape)
            raise ValueError(
                f"Argument 'outputs' must have a tensor {OUTPUTS!r} of shape "
                f"[m >= 2, n = {self.n}, *answer], not {shape}."
            )
        if not torch.isfinite(given).all():
            raise ValueError(f"Argument 'outputs' must have a finite tensor {OUTPUTS!r}.")
