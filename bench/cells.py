"""A table of trained codes as its TOML file describes it: base models, rows, published figures.

A grid of rows is written once, with the values of each axis; `read_table` multiplies it out. Knows
what a row is called and what would have to be equal for two runs of it to be the same; runs
nothing (`bench.trainings`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as checked

from bench.described import (
    STRICT,
    BaseModel,
    base_name,
    content_of,
    digest,
    fewer,
    plain,
    shortened,
)


@checked(frozen=True, config=STRICT)
class Grid:
    """Rows that differ along some axes.

    Attributes:
        code: what is trained.
        each: axis -> values; an axis is base, k, r, or parameters.X, student.X, recipe.X.
        r: unless it is an axis.
        cost: of a student, for one group, as a share of a base model's one answer.
        label: part of the rows' names, where the axes do not tell them apart.
        epochs, parameters, student, recipe: as of `training.codes.CodePlan`.
    """

    code: str
    each: dict[str, list[Any]]
    r: int = 1
    cost: float = 1.0
    label: str = ""
    epochs: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    student: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


@checked(frozen=True, config=STRICT)
class Published:
    """A figure of a paper, for rows that it may be compared with.

    Attributes:
        dataset, code, k: of those rows.
        says: what the figure is, in words.
        gap: points of accuracy that lost answers are below the base model's.
        source: where it stands.
    """

    dataset: str
    code: str
    k: int
    says: str
    source: str
    gap: float


@checked(frozen=True, config=STRICT)
class Description:
    """A whole table."""

    title: str
    bases: dict[str, BaseModel]
    grids: list[Grid]
    published: list[Published] = field(default_factory=list)
    seed: int = 0
    kind: Literal["trained-codes"] = "trained-codes"


@dataclass(frozen=True)
class Row:
    """One training and what is measured after it.

    Attributes:
        name: in the table.
        model: name of the base model in the table.
        base: the base model.
        code, k, r, epochs, parameters, student, recipe, cost: as in its grid.
        seed: of base model and code.
    """

    name: str
    model: str
    base: BaseModel
    code: str
    k: int
    r: int
    cost: float
    epochs: int | None
    parameters: dict[str, Any]
    student: dict[str, Any]
    recipe: dict[str, Any]
    seed: int

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out, as plain values."""
        return {key: value for key, value in plain(self).items() if key not in ("name", "model")}

    @property
    def base_name(self) -> str:
        """Of the base model in a store: another description has another name."""
        return base_name(self.model, self.base, self.seed)

    @property
    def code_name(self) -> str:
        """Of the trained code in a store."""
        return f"{self.base_name}.{self.code}-{digest(self.spec)}"


def read_table(name: str) -> Description:
    """The description in bench/tables/NAME.toml.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not as `Description` says.
    """
    return TypeAdapter(Description).validate_python(content_of(name))


def rows_of(table: Description, pattern: str = "*", most_epochs: int | None = None) -> list[Row]:
    """The rows of a table, in its order.

    Args:
        table: as described.
        pattern: shell wildcards that a row's name must match.
        most_epochs: shorten every training to so many.
    """
    return [
        row
        for grid in table.grids
        for row in _multiplied(table, grid, most_epochs)
        if fnmatchcase(row.name, pattern)
    ]


def published_for(table: Description, row: Row) -> list[Published]:
    """The published figures that a row may be compared with."""
    return [
        figure
        for figure in table.published
        if (figure.dataset, figure.code, figure.k) == (row.base.dataset, row.code, row.k)
    ]


def _multiplied(table: Description, grid: Grid, most_epochs: int | None) -> Iterator[Row]:
    for values in product(*grid.each.values()):
        chosen = dict(zip(grid.each, values, strict=True))
        parts: dict[str, dict[str, Any]] = {
            "parameters": dict(grid.parameters),
            "student": dict(grid.student),
            "recipe": dict(grid.recipe),
        }
        variant = [grid.label] if grid.label else []
        for axis, value in chosen.items():
            section, dot, key = axis.partition(".")
            if dot:
                parts[section][key] = value
                variant.append(value if isinstance(value, str) else f"{key}-{value}")
        k, r, model = chosen["k"], chosen.get("r", grid.r), chosen["base"]
        base = table.bases[model]
        yield Row(
            name=".".join([model, f"{grid.code}-k{k}-r{r}", *variant]),
            model=model,
            base=shortened(base, most_epochs),
            code=grid.code,
            k=k,
            r=r,
            cost=grid.cost,
            epochs=fewer(grid.epochs, most_epochs),
            seed=table.seed,
            **parts,
        )
