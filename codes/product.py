"""A product of codes: models in the rows (COIN), queries in the columns, on the same workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from codes.base import Matrix
from codes.berrut import Berrut
from codes.checks import check_choice, check_size, in_order
from codes.coin import Coin
from codes.exact_case import ExactCase
from codes.linear import LinearCode, LinearDecoding
from codes.merging import checked_rows, coin_roles
from codes.parity import Parity
from codes.replication import Replication

COLUMNS: dict[str, Callable[[int, int], LinearCode]] = {
    "parity": Parity,
    "replication": Replication,
    "berrut": Berrut,
}


@final
@dataclass(frozen=True)
class Product(LinearDecoding):
    """Models times queries, approximate: every model and every merged one answers every query and
    every parity query, so that a lost model and a lost query are recovered together.

    Group: q = k / models queries. Slots: (i, j) at i * columns + j, with row i a model or a merged
    one, and column j a shard of the query code. Roles: row i's, as those of COIN. Answer m * q + b
    is that of model m to query b. Threshold: n - (coded + 1)(c - R + 1) + 1, where the query code
    has c slots and threshold R: a rectangle of lost slots is the smallest that cannot be decoded.
    Exact case: that of the query code, with ideal merged models.
    Encode: the query code's shards, each to all slots of its column in one tensor.
    Decode: COIN in the columns of queries, the query code in the rows, COIN in the other columns,
    again and again until nothing is added; all steps are linear, so that a set of responders has
    one matrix. An answer that is had from its own slot is copied.
    Cost: encode as the query code; decode at most k s |y| multiply-adds; worker 1x; payload 1x.
    A single model's answers need its own row only, and are protected there by the query code, at
    the query code's price. Columns of parity queries ask of merged models that they merge well on
    mixes of queries, too.
    Source: this project's; product codes are P. Elias's (1954).

    Args:
        k: answers, models times the queries in a group.
        n: slots, (models + coded) times the query code's slots.
        models: rows of models, 1 or more.
        coded: rows of merged models, 0 or more.
        weights: a row of weights for each merged model; as COIN has them.
        columns: the query code: "parity", "replication" or "berrut".

    Raises:
        ValueError: sizes that are no multiples, or what either code refuses.
    """

    name: ClassVar[str] = "product"
    summary: ClassVar[str] = "COIN over models times a code over queries, on the same workers"
    exact: ClassVar[bool] = False

    k: int
    n: int
    models: int = 2
    coded: int = 1
    weights: Sequence[Sequence[float]] | None = None
    columns: str = "parity"

    def __post_init__(self) -> None:
        check_size("models", self.models, 1)
        check_size("coded", self.coded, 0)
        check_size("k", self.k, self.models, "models")
        check_choice("columns", self.columns, COLUMNS)
        height = self.models + self.coded
        if self.k % self.models:
            raise ValueError(
                f"Argument 'k' must be a multiple of models = {self.models}, not {self.k}."
            )
        check_size("n", self.n, self.q * height, "k / models x (models + coded)")
        if self.n % height:
            raise ValueError(
                f"Argument 'n' must be a multiple of models + coded = {height}, not {self.n}."
            )
        rows = checked_rows(self.weights, self.models, self.coded)
        object.__setattr__(self, "weights", rows)
        COLUMNS[self.columns](self.q, self._width)  # refuses what it does not take

    @property
    def q(self) -> int:
        """Queries in a group, each of them answered by every model."""
        return self.k // self.models

    @property
    def model_roles(self) -> tuple[str, ...]:
        """A role for each model."""
        return coin_roles(self.models, 0)

    @property
    def roles(self) -> tuple[str, ...]:
        """Those of the rows."""
        return tuple(
            role for role in coin_roles(self.models, self.coded) for _ in range(self._width)
        )

    @property
    def recovery_threshold(self) -> int:
        """All slots but one less than the smallest rectangle that cannot be decoded."""
        lost = self._width - self._query_code.recovery_threshold + 1
        return self.n - (self.coded + 1) * lost + 1

    @cached_property
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """Those of the query code, in the row of the answer's model."""
        return tuple(
            tuple(model * self._width + slot for slot in own)
            for model in range(self.models)
            for own in self._query_code.own_slots
        )

    @property
    def exact_case(self) -> ExactCase:
        """That of the query code, from so many slots as always suffice."""
        case, needs = self._query_code.exact_case, self.recovery_threshold
        says = f"{case.program} programs, from any {needs} slots, with ideal merged models"
        return ExactCase(case.program, case.groups, needs, says)

    def first_slots(self, answers: Sequence[int]) -> tuple[int, ...]:
        """The rows of the models that are asked; all, where all models are."""
        asked = sorted({answer // self.q for answer in answers})
        if len(asked) == self.models:
            return tuple(range(self.n))
        width = self._width
        return tuple(slot for row in asked for slot in range(row * width, (row + 1) * width))

    @property
    def merging_weights(self) -> Matrix:
        """A row of weights for each merged model, [coded, models]."""
        return self._coin.merging_weights

    def merged(self, slots: Sequence[int]) -> Matrix:
        """By which results the mean of all models is known from the first merged model's row,
        [q, s]; rows of NaN where they are not."""
        size = 1 / self.merging_weights[0].sum() if self.coded else np.nan
        return size * self._grid(tuple(slots)).answers([self.models])

    def residual(self, results: Sequence[Float[Tensor, " g *answer"]]) -> float:
        """As COIN's, the root mean square over the columns of queries and of parity queries."""
        ordered, _ = in_order(results, range(self.n), self.widths)
        columns = [self._coin.residual(ordered[j :: self._width]) for j in range(self._width)]
        return float(np.sqrt(np.mean(np.square(columns))))

    def _responses(self) -> Matrix:
        return np.kron(self._coin.responses, self._query_code.generator)

    def _encode(self, queries: Tensor) -> list[Tensor]:
        return self._query_code.encode(queries) * (self.models + self.coded)

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        return self._grid(slots).answers(range(self.models))

    def _grid(self, slots: tuple[int, ...]) -> "_Grid":
        grid = _Grid(self._coin, self._query_code, slots)
        while grid.grow():
            pass
        return grid

    # What is computed once.

    @property
    def _width(self) -> int:
        return self.n // (self.models + self.coded)

    @cached_property
    def _coin(self) -> Coin:
        return Coin(self.models, self.models + self.coded, self.weights)

    @cached_property
    def _query_code(self) -> LinearCode:
        return COLUMNS[self.columns](self.q, self._width)


class _Grid:
    """What is known of each row's results and answers, as vectors over the responders.

    A row's places are the query code's slots, and after them its q answers.
    """

    def __init__(self, coin: Coin, query_code: LinearCode, slots: tuple[int, ...]) -> None:
        self._coin, self._queries = coin, query_code
        self._known: dict[tuple[int, int], np.ndarray] = {}
        for unit, slot in zip(np.eye(len(slots)), slots, strict=True):
            row, place = divmod(slot, query_code.n)
            self._learn(row, place, unit)

    def grow(self) -> bool:
        """One round of all columns and rows; whether anything was added."""
        before, c = len(self._known), self._queries.n
        for b in range(self._queries.q):
            self._decode_column(c + b)
        for row in range(self._coin.n):
            self._decode_row(row)
        for place in range(c):
            self._decode_column(place)
        return len(self._known) > before

    def answers(self, rows: Sequence[int]) -> Matrix:
        """Of some rows to all q queries, [rows * q, s]; NaN where an answer is not known."""
        size = len(next(iter(self._known.values())))
        return np.array(
            [
                self._known.get((row, self._queries.n + b), np.full(size, np.nan))
                for row in rows
                for b in range(self._queries.q)
            ]
        )

    def _learn(self, row: int, place: int, value: np.ndarray) -> None:
        """Also at the places that hold the same: an answer, and the slots of its query."""
        c = self._queries.n
        for b, own in enumerate(self._queries.own_slots):
            if place in (c + b, *own):
                for same in (c + b, *own):
                    self._known.setdefault((row, same), value)
                return
        self._known.setdefault((row, place), value)

    def _decode_column(self, place: int) -> None:
        rows = [row for row in range(self._coin.n) if (row, place) in self._known]
        if len(rows) < self._coin.k:
            return
        values = np.array([self._known[row, place] for row in rows])
        for model, weights in enumerate(self._coin.decoder(rows)):
            if (model, place) not in self._known and np.isfinite(weights).all():
                self._learn(model, place, weights @ values)

    def _decode_row(self, row: int) -> None:
        places = [place for place in range(self._queries.n) if (row, place) in self._known]
        if not places:
            return
        values = np.array([self._known[row, place] for place in places])
        for b, weights in enumerate(self._queries.decoder(places)):
            if (row, self._queries.n + b) not in self._known and np.isfinite(weights).all():
                self._learn(row, self._queries.n + b, weights @ values)
