"""Codes that are a matrix: shards = G · queries, answers = D · results.

`LinearDecoding` asks what each row of the results says of the answers, and for a decoder per set
of responders; `LinearCode` asks for the generator matrix, by which queries are encoded too.
Everything about tensors is here, once. Matrices are float64 and cast at use; half precision
accumulates in float32. What needs no arithmetic gets none: a shard that is a query and a result
that is an answer are copied, and coefficients that are zero multiply nothing.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from codes.base import BASE, Code, Matrix, Vector, remember
from codes.checks import sorted_slots
from codes.interpolation import noise_gain

RESIDUAL_LIMIT = 1e-6  # |D G - I| beyond it is no decoder: float64 has lost 10 of its 16 digits
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Mix:
    """Rows of a matrix that share their non-zero columns, ready to multiply."""

    rows: tuple[int, ...]  # where the products go
    columns: tuple[int, ...]  # what they are made from
    matrix: Tensor  # [rows, columns], of the dtype and device of the product
    bias: Tensor | None = None  # [rows, 1, entries of an answer]

    def times(self, factors: Tensor) -> Tensor:
        """The product [rows, g, *x] with [columns, g, *x].

        Each call into torch costs about a microsecond, as much as the arithmetic of a small
        group: there is none here that is not needed.
        """
        (count, *shape), dtype = factors.shape, factors.dtype
        flat = factors.view(count, -1)
        is_other = dtype != self.matrix.dtype
        product = torch.mm(self.matrix, flat.to(self.matrix.dtype) if is_other else flat)
        if self.bias is not None:
            if self.bias.shape[2] != flat.shape[1] // shape[0]:
                raise ValueError(
                    f"Results must have answers of {self.bias.shape[2]} entries, as the decoder "
                    f"was measured with, not {flat.shape[1] // shape[0]}."
                )
            product = product.view(len(self.rows), shape[0], -1) + self.bias
        return (product.to(dtype) if is_other else product).view(-1, *shape)


@dataclass(frozen=True)
class Recipe:
    """How each row of a product comes about: copied, or from a mix."""

    copies: tuple[tuple[int, int], ...]  # (row, column)
    mixes: tuple[Mix, ...]


class LinearDecoding(Code):
    """A code whose answers are a matrix times the rows of its results, however it encodes.

    A slot's result is one row, or `widths[slot]` of them; rows are numbered over all slots.
    """

    @abstractmethod
    def _responses(self) -> Float64[np.ndarray, "rows k"]:
        """What each row of the results is in terms of the answers, ideally; asked once."""

    @abstractmethod
    def _decoder(self, slots: tuple[int, ...]) -> Float64[np.ndarray, "k s"]:
        """The decoder of sorted responders, a column for each of their rows.

        A row of NaN where an answer cannot be decoded. Rows of answers with an own slot among the
        responders are not read.
        """

    def _bias(self, slots: tuple[int, ...]) -> Float64[np.ndarray, " k *answer"] | None:
        """What an affine decoder adds; nothing, for a linear one."""
        return None

    @final
    @cached_property
    def responses(self) -> Float64[np.ndarray, "rows k"]:
        """What each row of the results is in terms of the answers, read-only."""
        responses = np.array(self._responses(), np.float64)
        count = len(self.rows_of(range(self.n)))
        if responses.shape != (count, self.k) or not np.isfinite(responses).all():
            raise ValueError(
                f"The responses of {self!r} must be finite [{count}, k = {self.k}], "
                f"not {list(responses.shape)}."
            )
        responses.flags.writeable = False
        return responses

    @final
    def decoder(self, slots: Sequence[int]) -> Float64[np.ndarray, "k s"]:
        """The decoder matrix of a set of responders, columns in ascending order of their rows.

        Returns:
            Unit rows for own answers, rows of NaN for answers that cannot be decoded.
        """
        return self._solution(sorted_slots(slots, self.n)).copy()

    @cached_property
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """Base slots of one row, whose row is a unit vector, by its column."""
        own: list[list[int]] = [[] for _ in range(self.k)]
        for slot, rows in enumerate(self._rows):
            row = self.responses[rows[0]]
            (columns,) = np.nonzero(row)
            is_plain = not self.widths[slot] and self.roles[slot] == BASE
            if is_plain and len(columns) == 1 and row[columns[0]] == 1.0:
                own[int(columns[0])].append(slot)
        return tuple(map(tuple, own))

    def _gain(self, slots: tuple[int, ...]) -> Vector:
        return noise_gain(self._solution(slots))

    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        rows = results if self._is_plain else self._unbound(results, slots)
        recipe = self._decoding(slots, answers, rows[0])
        made: list[Tensor] = [rows[0]] * len(answers)
        for row, column in recipe.copies:
            made[row] = rows[column]
        for mix in recipe.mixes:
            product = mix.times(torch.stack([rows[column] for column in mix.columns]))
            # One sum tells: what is not finite among the factors is not finite in the products.
            if not isfinite(product.sum().item()):
                owner = [slot for slot in slots for _ in self._rows[slot]]
                _name_the_slot([(owner[column], rows[column]) for column in mix.columns])
            if mix.rows == tuple(range(len(answers))):
                return product.transpose(0, 1)  # [k, g, *answer], all in order: no copy
            for row, tensor in zip(mix.rows, product.unbind(0), strict=True):
                made[row] = tensor
        return torch.stack(made, 1)

    def _unbound(self, results: Sequence[Tensor], slots: tuple[int, ...]) -> list[Tensor]:
        rows: list[Tensor] = []
        for slot, result in zip(slots, results, strict=True):
            rows += result.unbind(1) if self.widths[slot] else [result]
        return rows

    # What is computed once.

    @cached_property
    def _is_plain(self) -> bool:
        return not any(self.widths)

    @cached_property
    def _solutions(self) -> dict[tuple[int, ...], Matrix]:
        """Decoders of responder sets seen, read-only; shared by threads."""
        return {}

    @cached_property
    def _recipes(self) -> dict[object, Recipe]:
        """Decoders and the generator as they are applied; shared by threads."""
        return {}

    def _solution(self, slots: tuple[int, ...]) -> Matrix:
        known = self._solutions.get(slots)
        if known is None:
            known = np.array(self._decoder(slots), np.float64)
            for answer, own in enumerate(self.own_slots):
                here = [slot for slot in own if slot in slots]
                if here:
                    known[answer] = 0.0
                    known[answer, self._column(slots, here[0])] = 1.0
            known.flags.writeable = False
            remember(self._solutions, slots, known)
        return known

    def _column(self, slots: tuple[int, ...], slot: int) -> int:
        """Where the first row of a slot is among the rows of the responders."""
        return len(self.rows_of(slots[: slots.index(slot)]))

    def _decoding(self, slots: tuple[int, ...], answers: tuple[int, ...], like: Tensor) -> Recipe:
        key = (slots, answers, like.dtype, like.device)
        recipe = self._recipes.get(key)
        if recipe is None:
            copies = {}
            for row, answer in enumerate(answers):
                here = [slot for slot in self.own_slots[answer] if slot in slots]
                if here:
                    copies[row] = self._column(slots, here[0])
            rows = list(answers)
            bias = self._bias(slots)
            recipe = _recipe(
                self._solution(slots)[rows], copies, None if bias is None else bias[rows],
                like.dtype, like.device,
            )  # fmt: skip
            remember(self._recipes, key, recipe)
        return recipe


class LinearCode(LinearDecoding):
    """A code given by its generator matrix and its decoders; every slot returns one row.

    Where `wide` is set, mixes are summed in float64 and rounded once: an exact code's decoder
    multiplies what a shard was rounded by.
    """

    wide: ClassVar[bool] = False

    @abstractmethod
    def _generator(self) -> Float64[np.ndarray, "n k"]:
        """The generator matrix; asked once. A row that is a unit vector makes an own slot."""

    @final
    def _responses(self) -> Matrix:
        return np.array(self._generator(), np.float64)

    @final
    @property
    def generator(self) -> Float64[np.ndarray, "n k"]:
        """The generator matrix, read-only."""
        return self.responses

    def _encoder(self) -> Float64[np.ndarray, "n k+pads"]:
        """What shards are made by: the generator, and columns for pads where there are any."""
        return self.generator

    def _encode(self, queries: Tensor) -> list[Tensor]:
        stacked = queries.transpose(0, 1).contiguous()  # [k, g, *query]: one copy for all shards
        rows = stacked.unbind(0)
        recipe = self._encoding(stacked.dtype, stacked.device)
        shards: list[Tensor] = [stacked] * self.n
        for slot, query in recipe.copies:
            shards[slot] = rows[query]
        for mix in recipe.mixes:
            if len(mix.columns) == len(rows):
                product = mix.times(stacked)
            else:
                product = mix.times(torch.stack([rows[column] for column in mix.columns]))
            for slot, tensor in zip(mix.rows, product.unbind(0), strict=True):
                shards[slot] = tensor
        return shards

    def _encoding(self, dtype: torch.dtype, device: torch.device) -> Recipe:
        key = (dtype, device)
        recipe = self._recipes.get(key)
        if recipe is None:
            copies = {slot: j for j, own in enumerate(self.own_slots) for slot in own}
            product = torch.float64 if self.wide else dtype
            recipe = _recipe(self._encoder(), copies, None, product, device)
            remember(self._recipes, key, recipe)
        return recipe


class LeastSquares(LinearDecoding):
    """Decodes by least squares: from any slots whose rows give all answers.

    Fewer rows than k, or dependent ones, give own answers only. Decoders come from a QR
    factorisation and are checked before they are used.
    """

    @final
    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        rows = self.responses[self.rows_of(slots)]
        decoder = np.full((self.k, len(rows)), np.nan)
        if len(rows) < self.k:
            return decoder
        q, r = np.linalg.qr(rows)
        try:
            solved: Matrix = np.linalg.solve(r, q.T)
        except np.linalg.LinAlgError:  # dependent rows, to the last bit
            return decoder
        with np.errstate(all="ignore"):  # nearly dependent rows overflow, and fail the check
            is_right = np.abs(solved @ rows - np.eye(self.k)).max() <= RESIDUAL_LIMIT
        return solved if is_right else decoder


class MDSCode(LeastSquares, LinearCode):
    """A linear code that decodes by least squares: any k slots whose rows are independent."""


def _recipe(
    matrix: Matrix,
    copies: dict[int, int],
    bias: np.ndarray | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Recipe:
    dtype = torch.float32 if dtype in HALF else dtype
    supports: dict[tuple[int, ...], list[int]] = {}
    for row, coefficients in enumerate(matrix):
        if row not in copies:
            columns = tuple(int(column) for column in np.nonzero(coefficients)[0])
            supports.setdefault(columns or (0,), []).append(row)
    mixes = []
    for columns, rows in supports.items():
        part = torch.from_numpy(matrix[np.ix_(rows, columns)]).to(device, dtype)
        added = None
        if bias is not None:
            added = torch.from_numpy(bias[rows]).to(device, dtype).reshape(len(rows), 1, -1)
        mixes.append(Mix(tuple(rows), columns, part, added))
    return Recipe(tuple(copies.items()), tuple(mixes))


def _name_the_slot(used: list[tuple[int, Tensor]]) -> None:
    """Refuse a result that is not finite; a product may also have grown beyond its dtype."""
    for slot, result in used:
        if not torch.isfinite(result).all():
            raise ValueError(f"Result of slot {slot} must be finite to be decoded from.")
