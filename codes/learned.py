"""The learned code: networks make the parity queries and recover the lost answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from codes.backup import STUDENT
from codes.base import BASE, Code, Vector
from codes.checks import check_choice, check_size
from codes.exact_case import ExactCase, identity_rows
from codes.neural import Coder, Weights, fresh

ENCODERS = ("mlp", "conv")


@final
@dataclass(frozen=True)
class Learned(Code):
    """Encoder and decoder trained together, through the served model; approximate.

    Group: q = k images. Roles: all "base"; `assisted`, the last is a "student". Threshold: k.
    Exact case: own answers only.
    Encode: shard j = x_j for j < k; the r others are E(x_1 ... x_k); a student's is all k queries.
    Decode: own answers are copied; y_lost = D(results, zeros for lost slots).
    Cost on 28 x 28 at k = 2: the conv encoder 57 million multiply-adds, the mlp encoder 4 million;
    worker 1x; payload 1x.
    Source: [kosaian2018]. Deviates: r > 1, every pattern of losses; channels (`codes.neural`); a
    student's estimates as side information.

    Args:
        k: images in a group, 1 to 256.
        n: slots, k to 256; r = n - k of them are parities, or r - 1 and a student.
        encoder: "mlp" or "conv".
        query_shape: (c, h, w) of an image.
        classes: length of an answer.
        weights: as trained; without them the code is of the right shape and of no use.
        assisted: whether the last slot is a student's, whose k estimates the decoder sees, too.
    """

    name: ClassVar[str] = "learned"
    summary: ClassVar[str] = "encoder and decoder trained through the served model"
    source: ClassVar[str] = "kosaian2018"
    exact: ClassVar[bool] = False
    slow: ClassVar[bool] = True

    k: int
    n: int
    encoder: str = "mlp"
    query_shape: tuple[int, ...] = (1, 8, 8)
    classes: int = 10
    weights: Weights | None = None
    assisted: bool = False

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        if self.assisted:
            check_size("n", self.n, self.k + 1, "k + 1")
        check_size("n", self.n, self.k, "k")
        check_choice("encoder", self.encoder, ENCODERS)
        shape = tuple(self.query_shape)  # a configuration file has lists
        object.__setattr__(self, "query_shape", shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"Argument 'query_shape' must be (c, h, w), not {shape}.")
        if self.classes < 1:
            raise ValueError(f"Argument 'classes' must be at least 1, not {self.classes}.")
        if self.weights is not None:
            self._check_weights(self.weights)

    @property
    def is_trained(self) -> bool:
        """Whether it has weights."""
        return self.weights is not None

    @property
    def recovery_threshold(self) -> int:
        """As many slots as there are queries: it is trained for r losses at most."""
        return self.k

    @property
    def roles(self) -> tuple[str, ...]:
        """ "base", and "student" for the last slot where the code is assisted."""
        return (BASE,) * (self.n - self.assisted) + (STUDENT,) * self.assisted

    @property
    def widths(self) -> tuple[int, ...]:
        """A student returns all k answers."""
        return (0,) * (self.n - self.assisted) + (self.k,) * self.assisted

    @cached_property
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """Slot j is answer j."""
        return tuple((j,) for j in range(self.k))

    @property
    def exact_case(self) -> ExactCase:
        """None but own answers."""
        says = "own answers; lost ones are as good as the training"
        return ExactCase("any", identity_rows(self.k), self.n + 1, says)

    @property
    def query_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The one that it was made for."""
        return (self.query_shape,)

    @property
    def answer_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The one that it was made for."""
        return ((self.classes,),)

    def fresh_coder(self, seed: int) -> Coder:
        """An untrained coder of this code's sizes, in evaluation mode."""
        return fresh(seed, self._empty_coder())

    def _empty_coder(self) -> Coder:
        with torch.device("meta"):
            return Coder(
                self.k,
                self.n - self.k - self.assisted,
                self.query_shape,
                self.classes,
                self.encoder,
                self.assisted,
            )

    def _encode(self, queries: Tensor) -> list[Tensor]:
        if tuple(queries.shape[2:]) != self.query_shape:
            raise ValueError(
                f"Argument 'queries' must be images of shape {self.query_shape}, as the encoder "
                f"was made for, not {tuple(queries.shape[2:])}."
            )
        own = queries.transpose(0, 1).contiguous().unbind(0)
        shards = list(own)
        if self.n - self.assisted > self.k:
            with torch.no_grad():
                parities = self._coder(queries.device).encode(queries.float()).to(queries.dtype)
            shards += parities.transpose(0, 1).contiguous().unbind(0)
        return [*shards, queries.contiguous()] if self.assisted else shards

    def _gain(self, slots: tuple[int, ...]) -> Vector:
        """1 too for what is decoded: how noise grows in the decoder is not known."""
        gain = np.full(self.k, np.inf if len(slots) < self.k else 1.0)
        gain[[slot for slot in slots if slot < self.k]] = 1.0
        return gain

    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        by_slot = dict(zip(slots, results, strict=True))
        own = {j: by_slot[j] for j in answers if j in by_slot}
        if len(own) == len(answers):
            return torch.stack([own[j] for j in answers], 1)
        first = results[0]
        if first.shape[-1] != self.classes:
            raise ValueError(
                f"Results must have answers of {self.classes} entries, as the decoder was made "
                f"for, not {first.shape[-1]}."
            )
        for slot, result in by_slot.items():
            if not torch.isfinite(result).all():
                raise ValueError(f"Result of slot {slot} must be finite to be decoded from.")
        rows = first.new_zeros(len(first), len(self.rows_of(range(self.n))), self.classes)
        for slot, result in by_slot.items():
            rows[:, self.rows_of([slot])] = result if self.widths[slot] else result[:, None]
        with torch.no_grad():
            decoded = self._coder(first.device).decode(rows.float()).to(first.dtype)
        return torch.stack([own.get(j, decoded[:, j]) for j in answers], 1)

    def _coder(self, device: torch.device) -> Coder:
        known = self._coders.get(device)
        if known is None:
            known = self.fresh_coder(seed=0)
            if self.weights is not None:
                known.load_state_dict(dict(self.weights.tensors))
            self._coders[device] = known.to(device).requires_grad_(False)
        return self._coders[device]

    @cached_property
    def _coders(self) -> dict[torch.device, Coder]:
        """One a device, never written to after it is made; at worst made twice."""
        return {}

    def _check_weights(self, weights: Weights) -> None:
        expected = self._empty_coder().state_dict()
        wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
        given = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
        for name in sorted(wanted.keys() | given.keys()):
            if wanted.get(name) != given.get(name):
                raise ValueError(
                    f"Argument 'weights' must have {name!r} of shape {wanted.get(name)} for "
                    f"k = {self.k}, n = {self.n}, not {given.get(name)}."
                )
