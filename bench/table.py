"""What every kind of table has: rows that are run to records, and records that become text."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from bench.bases import Bar
from models.store import Store

Record = dict[str, Any]


class Row(Protocol):
    """What is run, and recorded, at once."""

    @property
    def name(self) -> str:
        """In the table."""

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out, as plain values."""


R = TypeVar("R", bound=Row)


class Table(ABC, Generic[R]):
    """A table of one kind, as its file describes it.

    Attributes:
        kind: what files of this kind name themselves.
        titles: of the columns.
        title: of this table.
    """

    kind: ClassVar[str]
    titles: ClassVar[tuple[str, ...]]
    title: str

    @classmethod
    @abstractmethod
    def of(cls, content: dict[str, Any]) -> "Table[R]":
        """From what its file says.

        Raises:
            ValueError: it is not as this kind wants it.
        """

    @abstractmethod
    def rows(self, pattern: str = "*", most_epochs: int | None = None) -> list[R]:
        """Its rows, in order.

        Args:
            pattern: shell wildcards that a row's name must match.
            most_epochs: shorten every training to so many.
        """

    @abstractmethod
    def run(self, row: R, store: Store, bar: Bar, device: str) -> Iterator[Record]:
        """Train what a row wants, measure it, and give its records."""

    @abstractmethod
    def failed(self, row: R, error: Exception) -> Record:
        """The record of a row that came to nothing."""

    @abstractmethod
    def says(self, record: Record) -> str:
        """A record in a few words, for the terminal."""

    @abstractmethod
    def newest(self, found: Iterable[Record]) -> list[Record]:
        """Of all records those that count: the last of each row."""

    @abstractmethod
    def cells(self, found: Sequence[Record]) -> list[tuple[str, ...]]:
        """The newest records as text, under `titles`."""
