"""Means over models, as further answers of a code over models: what an ensemble's client asks for.

`Ensemble` wraps `codes.coin` or `codes.product` (or either of them calibrated) and appends one
answer a query: the weighted mean of all models' answers. In a query's way it stands where the code
stood; it sends and judges nothing of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from codes.base import Code, Matrix, Vector, remember
from codes.calibrated import Calibrated
from codes.coin import Coin
from codes.interpolation import noise_gain
from codes.linear import HALF
from codes.product import Product

MEAN = "mean"  # what clients call the models' weighted mean


@final
@dataclass(frozen=True)
class Ensemble(Code):
    """A code over models whose groups have q answers more, the models' weighted means.

    Answers: the wrapped code's, then mean b of query b, weighed as the first merged model is (all
    models alike where there is none), the weights scaled to a sum of 1.
    Decode: of the models' answers, where all of them can be had, own or decoded by the merged
    models' weights; else it is what the first merged model returned, which stands for that mean.
    Expected error: 0 where all own answers are in; else measured on COIN's `outputs`, or unknown.

    Args:
        code: `Coin`, `Product`, or one of them calibrated.
    """

    name: ClassVar[str] = "ensemble"
    summary: ClassVar[str] = "a code over models, with the models' mean as a further answer"
    exact: ClassVar[bool] = False

    code: Code
    k: int = field(init=False, repr=False)
    n: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", self.code.k + self.code.q)
        object.__setattr__(self, "n", self.code.n)

    @property
    def q(self) -> int:
        """Of the wrapped code."""
        return self.code.q

    @property
    def independent(self) -> int:
        """The wrapped code's: means follow from its answers."""
        return self.code.independent

    @property
    def model_roles(self) -> tuple[str, ...]:
        """Of the wrapped code, and the mean's, which no slot runs."""
        return (*self.code.model_roles, MEAN)

    @property
    def roles(self) -> tuple[str, ...]:
        """Of the wrapped code."""
        return self.code.roles

    @property
    def recovery_threshold(self) -> int:
        """Of the wrapped code; a mean may need fewer."""
        return self.code.recovery_threshold

    @property
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """Of the wrapped code; no slot's result is a mean."""
        return (*self.code.own_slots, *[()] * self.q)

    @cached_property
    def weights(self) -> Vector:
        """Of the mean, one a model, of sum 1."""
        plain = self._plain
        rows = plain.merging_weights
        first = rows[0] if len(rows) else np.ones(len(self.code.model_roles))
        return np.asarray(first / first.sum(), np.float64)

    def first_slots(self, answers: Sequence[int]) -> tuple[int, ...]:
        """All of them where a mean is wanted."""
        if any(answer >= self.code.k for answer in answers):
            return tuple(range(self.sent))
        return self.code.first_slots(answers)

    def _encode(self, queries: Tensor) -> list[Tensor]:
        return self.code.encode(queries)

    def _gain(self, slots: tuple[int, ...]) -> Vector:
        return np.concatenate([self.code.gain(slots), noise_gain(self._means(slots))])

    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        own = [j for j in answers if j < self.code.k]
        made = {}
        if own:
            made = dict(zip(own, self.code.decode(results, slots, own).unbind(1), strict=True))
        for j in answers:
            if j >= self.code.k:
                made[j] = _mixed(results, self._means(slots)[j - self.code.k])
        return torch.stack([made[j] for j in answers], 1)

    def _expected_error(self, slots: tuple[int, ...]) -> Vector | None:
        told = self.code.expected_error(slots)
        if told is None:
            gain = self.code.gain(slots)
            told = np.where(np.isfinite(gain), np.nan, np.inf)
            told[[j for j, own in enumerate(self.code.own_slots) if {*own} & {*slots}]] = 0.0
        return np.concatenate([told, self._mean_errors(slots)])

    def _means(self, slots: tuple[int, ...]) -> Matrix:
        """The decoder of the means, [q, s]; rows of NaN where one cannot be had."""
        known = self._decoders.get(slots)
        if known is None:
            models, q = len(self.weights), self.q
            answers = self._plain.decoder(slots).reshape(models, q, -1)
            known = np.einsum("m,mqs->qs", self.weights, answers)
            merged = self._plain.merged(slots)
            known = np.where(np.isnan(known), merged, known)
            remember(self._decoders, slots, known)
        return known

    def _mean_errors(self, slots: tuple[int, ...]) -> Vector:
        """[q]"""
        decoders = self._means(slots)
        own = {slot for some in self.code.own_slots for slot in some}
        is_own = [slot in own for slot in slots]
        uses_own_only = (decoders[:, ~np.array(is_own)] == 0).all(axis=1)
        plain = self._plain
        error = np.full(self.q, np.nan)
        if isinstance(plain, Coin) and plain.outputs is not None:
            error[:] = plain.error_of(slots, decoders[0], self.weights)
        error[uses_own_only] = 0.0
        error[np.isnan(decoders).any(axis=1)] = np.inf
        return error

    @cached_property
    def _plain(self) -> Coin | Product:
        plain = self.code.code if isinstance(self.code, Calibrated) else self.code
        if not isinstance(plain, Coin | Product):
            raise ValueError(f"Argument 'code' must be a code over models, not {self.code!r}.")
        return plain

    @cached_property
    def _decoders(self) -> dict[tuple[int, ...], Matrix]:
        """Of the means, by the responders seen."""
        return {}


def _mixed(results: Sequence[Tensor], weights: Vector) -> Tensor:
    """The weighted sum of the results whose weight is not 0; half precision adds up in float32."""
    dtype = torch.float32 if results[0].dtype in HALF else results[0].dtype
    used = np.flatnonzero(weights).tolist()
    total = torch.zeros_like(results[0], dtype=dtype)
    for position in used:
        total += float(weights[position]) * results[position].to(dtype)
    return total.to(results[0].dtype)
