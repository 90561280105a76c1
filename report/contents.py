"""What is on a report, in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from report import dimensions, fronts, latency, losses, timelines
from report.cells import cells
from report.records import Provenance, Record, provenance
from report.sweeps import points
from report.tables import Table, tables
from report.theme import Drawing
from report.verdicts import Verdict, verdicts


@dataclass(frozen=True)
class Section:
    """Figures under one heading.

    Attributes:
        name: in the page.
        title: the heading.
        drawings: in order.
    """

    name: str
    title: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Report:
    """All that is told.

    Attributes:
        records: how many.
        verdicts: of points of sweeps.
        sections: those with figures.
        tables: all.
        made_by: where everything is from.
    """

    records: int
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...]
    tables: tuple[Table, ...]
    made_by: tuple[Provenance, ...]

    def drawings(self) -> Iterator[Drawing]:
        """Of all sections."""
        return (drawing for section in self.sections for drawing in section.drawings)


def contents(found: Sequence[Record]) -> Report:
    """What records have to say; nothing is drawn yet."""
    known, seen = cells(found), points(found)
    sections = (
        Section("latency", "Latency", tuple(latency.of_points(seen))),
        Section("sweeps", "What changes with workers, losses, load and stragglers",
                tuple(dimensions.over_dimensions(seen))),
        Section("thresholds", "Recovery thresholds",
                (*dimensions.over_thresholds(seen),
                 *losses.against_answers(known))),
        Section("losses", "Accuracy against lost workers",
                tuple(losses.against_losses(known))),
        Section("fronts", "Accuracy, latency and cost",
                (*dimensions.fronts(seen), *fronts.of_costs(known))),
        Section("timelines", "Chaos runs", tuple(timelines.of_soaks(found))),
    )  # fmt: skip
    return Report(
        len(found),
        tuple(verdicts(seen)),
        tuple(section for section in sections if section.drawings),
        tuple(tables(found, known)),
        provenance(found),
    )
