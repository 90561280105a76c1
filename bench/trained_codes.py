"""Tables of trained codes, such as learned-codes: every row is a training of its own."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from pydantic import TypeAdapter

from bench import cells, trained_table, trainings
from bench.bases import Bar
from bench.table import Record, Table
from models.store import Store


class TrainedCodes(Table[cells.Row]):
    """A grid of trained codes.

    Args:
        described: what its file says.
    """

    kind: ClassVar[str] = "trained-codes"
    titles: ClassVar[tuple[str, ...]] = trained_table.TITLES

    def __init__(self, described: cells.Description) -> None:
        self._described = described
        self.title = f"{described.title}; gaps in points of accuracy"

    @classmethod
    def of(cls, content: dict[str, Any]) -> "TrainedCodes":
        """See `Table.of`."""
        return cls(TypeAdapter(cells.Description).validate_python(content))

    def rows(self, pattern: str = "*", most_epochs: int | None = None) -> list[cells.Row]:
        """See `Table.rows`."""
        return cells.rows_of(self._described, pattern, most_epochs)

    def run(self, row: cells.Row, store: Store, bar: Bar, device: str) -> Iterator[Record]:
        """See `Table.run`."""
        published = cells.published_for(self._described, row)
        return trainings.run_row(row, store, published, bar, device)

    def failed(self, row: cells.Row, error: Exception) -> Record:
        """See `Table.failed`."""
        return trainings.failed(row, error)

    def says(self, record: Record) -> str:
        """See `Table.says`."""
        return (
            f"{record['decoder']}, {record['lost']} lost: {record['lost_only']:.4f}, "
            f"clean {record['clean']:.4f}, {record['seconds']:.0f} s"
        )

    def newest(self, found: Iterable[Record]) -> list[Record]:
        """See `Table.newest`."""
        return trained_table.newest(found)

    def cells(self, found: Sequence[Record]) -> list[tuple[str, ...]]:
        """See `Table.cells`."""
        return trained_table.cells(found)
