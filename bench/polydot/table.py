"""`python -m bench tables polydot`: the bars of coded products, section by section."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from bench.bases import Bar
from bench.described import STRICT
from bench.polydot.correctable import correctable
from bench.polydot.costs import cost, layer
from bench.polydot.measuring import agreeing, exact, located, majority, silent, sixty
from bench.polydot.outcome import Outcome
from bench.records import provenance
from bench.table import Record, Table
from models.store import Store

TITLES = ("what", "measured", "bar", "met")
FUNCTIONS = (exact, sixty, located, majority, agreeing, correctable, silent, cost, layer)
SECTIONS: dict[str, Callable[..., Outcome]] = {one.__name__: one for one in FUNCTIONS}


@checked(frozen=True, config=STRICT)
class Section:
    """Rows of one kind.

    Attributes:
        each: the settings of each row; arguments of the function that is named as its section.
        all: settings that are the same for all of them.
    """

    each: list[dict[str, Any]]
    all: dict[str, Any] = Field(default_factory=dict)


@checked(frozen=True, config=STRICT)
class Description:
    """A whole table; sections by the names of their functions."""

    title: str
    sections: dict[str, Section]
    seed: int = 0
    kind: Literal["polydot"] = "polydot"


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: section and number.
        section: whose function measures it.
        settings: its arguments.
    """

    name: str
    section: str
    settings: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out."""
        return {"section": self.section, **self.settings}


class PolydotTable(Table[Row]):
    """Coded products, measured.

    Args:
        described: what its file says.
    """

    kind: ClassVar[str] = "polydot"
    titles: ClassVar[tuple[str, ...]] = TITLES

    def __init__(self, described: Description) -> None:
        unknown = set(described.sections) - set(SECTIONS)
        if unknown:
            raise ValueError(
                f"Sections must be of {', '.join(SECTIONS)}, not {', '.join(sorted(unknown))}."
            )
        self.described = described
        self.title = described.title

    @classmethod
    def of(cls, content: dict[str, Any]) -> "PolydotTable":
        """See `Table.of`."""
        return cls(TypeAdapter(Description).validate_python(content))

    def rows(self, pattern: str = "*", most_epochs: int | None = None) -> list[Row]:
        """See `Table.rows`; nothing here has epochs."""
        rows = [
            Row(f"{name}.{number}", name, {**section.all, **one, "seed": self.described.seed})
            for name, section in self.described.sections.items()
            for number, one in enumerate(section.each)
        ]
        return [row for row in rows if fnmatchcase(row.name, pattern)]

    def run(self, row: Row, store: Store, bar: Bar, device: str) -> Iterator[Record]:
        """See `Table.run`."""
        settings = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in row.settings.items()
        }
        found = SECTIONS[row.section](**settings)
        yield {
            "row": row.name, "spec": row.spec, "what": found.setting, "measured": found.measured,
            "bars": found.bars, "facts": found.facts, **provenance(),
        }  # fmt: skip

    def failed(self, row: Row, error: Exception) -> Record:
        """See `Table.failed`."""
        says = f"{type(error).__name__}: {error}"
        return {"row": row.name, "spec": row.spec, "error": says, **provenance()}

    def says(self, record: Record) -> str:
        """See `Table.says`."""
        return f"{record['what']}: {record['measured']}"

    def newest(self, found: Iterable[Record]) -> list[Record]:
        """See `Table.newest`; in the table's order, and only rows that are as it says now."""
        last = {record["row"]: record for record in found if "error" not in record}
        return [
            last[row.name]
            for row in self.rows()
            if row.name in last and last[row.name]["spec"] == row.spec
        ]

    def cells(self, found: Sequence[Record]) -> list[tuple[str, ...]]:
        """See `Table.cells`."""
        return [
            (record["what"], record["measured"], "; ".join(record["bars"]), _met(record["bars"]))
            for record in found
        ]


def _met(bars: dict[str, bool]) -> str:
    """Whether a row meets its bars, or which of them it meets."""
    met = [bar for bar, is_met in bars.items() if is_met]
    return "yes" if len(met) == len(bars) else f"only {'; '.join(met)}" if met else "no"
