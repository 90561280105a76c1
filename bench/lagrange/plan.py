"""The table of split Lagrange networks as its TOML file describes it; trains and measures nothing.

One training serves all numbers of slots of a data set and k: a set of rows is written once, and a
row is one number of slots of it.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic.dataclasses import dataclass as checked

from bench.described import STRICT, BaseModel, Shipped, fewer, plain, shortened


@checked(frozen=True, config=STRICT)
class Split:
    """A split network: the cut, the numbers of slots that it learns for, and how."""

    cut: str
    slots: list[int]
    epochs: int
    recipe: dict[str, Any] = field(default_factory=dict)


@checked(frozen=True, config=STRICT)
class Helper:
    """Another trained code of a set: a student for all n, or a parity for n = k + 1."""

    code: Literal["backup", "mosaic", "parity"]
    epochs: int
    parameters: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


@checked(frozen=True, config=STRICT)
class Rows:
    """The rows of a base model and a k.

    Attributes:
        base: in the table.
        k: queries in a group.
        slots: numbers of them, a row each.
        split: what is trained for it.
        helpers: what else is.
        images: of the test set at most so many; 0: all.
    """

    base: str
    k: int
    slots: list[int]
    split: Split
    helpers: list[Helper] = field(default_factory=list)
    images: int = 0


@checked(frozen=True, config=STRICT)
class Published:
    """A figure of a paper.

    Attributes:
        dataset, k, n, lost: of the cell beside which it stands.
        system: whose.
        accuracy: in 0..1; `base` of the model without losses.
        says: what the figure is, in words.
        source: where it stands.
    """

    dataset: str
    k: int
    n: int
    lost: int
    system: str
    accuracy: float
    base: float
    says: str
    source: str


@checked(frozen=True, config=STRICT)
class Target:
    """What was aimed at.

    Attributes:
        says: in words.
        rule: how records are compared with it, see `bench.lagrange.targets`.
        model, k, n, answers: of the records that it is about; None: of all.
        must, good: the least, or for losses and costs the most, in the rule's order.
    """

    says: str
    rule: Literal["cell", "stop", "loss", "above", "replication", "costs"]
    model: str | None = None
    k: int | None = None
    n: int | None = None
    answers: int | None = None
    must: list[float] = field(default_factory=list)
    good: list[float] = field(default_factory=list)


@checked(frozen=True, config=STRICT)
class Tried:
    """What is tried on the validation split for the codes that train nothing.

    Attributes:
        points: of `berrut`.
        lambda_e, lambda_d: of `spline`.
        images: of the validation split at most so many.
    """

    points: list[str]
    lambda_e: list[float]
    lambda_d: list[float]
    images: int


@checked(frozen=True, config=STRICT)
class Stop:
    """When to decode: at this gain or less, over so many orders of arrival."""

    gain: float
    orders: int


@checked(frozen=True, config=STRICT)
class Description:
    """A whole table."""

    kind: Literal["split-lagrange"]
    title: str
    bases: dict[str, Shipped | BaseModel]
    rows: list[Rows]
    tried: Tried
    stop: Stop
    published: list[Published] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One number of slots of one training.

    Attributes:
        name: in the table.
        model: name of the base model in the table.
        base: the base model.
        k, n: queries and slots of a group.
        split, helpers, images: as in its `Rows`.
        tried, stop, seed: of the table.
    """

    name: str
    model: str
    base: BaseModel | Shipped
    k: int
    n: int
    split: Split
    helpers: tuple[Helper, ...]
    images: int
    tried: Tried
    stop: Stop
    seed: int

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out, as plain values."""
        return {key: value for key, value in plain(self).items() if key not in ("name", "model")}


def rows_of(table: Description, pattern: str = "*", most_epochs: int | None = None) -> list[Row]:
    """The rows of a table, in its order.

    Args:
        table: as described.
        pattern: shell wildcards that a row's name must match.
        most_epochs: shorten every training to so many.
    """
    found = []
    for rows in table.rows:
        split = Split(
            rows.split.cut,
            rows.split.slots,
            fewer(rows.split.epochs, most_epochs) or 1,
            rows.split.recipe,
        )
        helpers = tuple(
            Helper(one.code, fewer(one.epochs, most_epochs) or 1, one.parameters, one.recipe)
            for one in rows.helpers
        )
        found += [
            Row(
                name=f"{rows.base}.k{rows.k}.n{n}",
                model=rows.base,
                base=shortened(table.bases[rows.base], most_epochs),
                k=rows.k,
                n=n,
                split=split,
                helpers=helpers,
                images=rows.images,
                tried=table.tried,
                stop=table.stop,
                seed=table.seed,
            )
            for n in rows.slots
        ]
    return [row for row in found if fnmatchcase(row.name, pattern)]


def published_for(table: Description, row: Row, lost: int) -> list[dict[str, Any]]:
    """The published figures that stand beside a cell, as records keep them."""
    return [
        plain(figure)
        for figure in table.published
        if (figure.dataset, figure.k, figure.n, figure.lost)
        == (row.base.dataset, row.k, row.n, lost)
    ]
