"""`python -m bench tables cuts`: one short training a cut, and what any k answers are worth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as checked

from bench.bases import Bar, provide_base, provide_code
from bench.cuts.worth import newest
from bench.described import STRICT, BaseModel, Shipped, fewer, plain, shortened
from bench.lagrange.measuring import accuracies, base_accuracy, costs, of_training
from bench.lagrange.plan import Split
from bench.lagrange.systems import Questions, first_images
from bench.lagrange.trained import split_plan
from bench.records import provenance
from bench.table import Record, Table
from codes.replication import Replication
from codes.split_lagrange import SplitLagrange
from models.networks.cutting import cuts
from models.store import Store

TITLES = (
    "model", "cut after", "stem / base", "worker / base", "mix / image", "bytes a query",
    "any k of n, mean / worst", "all n", "base", "replication", "epochs", "s",
)  # fmt: skip


@checked(frozen=True, config=STRICT)
class Rows:
    """The cuts of a base model.

    Attributes:
        base: in the table.
        k, n: queries and slots of a group.
        cuts: the steps after which to cut.
        slots, epochs, recipe: of every training.
        images: of the test set at most so many; 0: all.
    """

    base: str
    k: int
    n: int
    cuts: list[str]
    slots: list[int]
    epochs: int
    recipe: dict[str, Any] = field(default_factory=dict)
    images: int = 0


@checked(frozen=True, config=STRICT)
class Description:
    """A whole table."""

    kind: Literal["cuts"]
    title: str
    bases: dict[str, Shipped | BaseModel]
    rows: list[Rows]
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One cut of one base model.

    Attributes:
        name: in the table.
        model, base: the base model, and its name in the table.
        k, n, images, seed: as described.
        split: the training.
    """

    name: str
    model: str
    base: BaseModel | Shipped
    k: int
    n: int
    split: Split
    images: int
    seed: int

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out, as plain values."""
        return {key: value for key, value in plain(self).items() if key not in ("name", "model")}


class CutsTable(Table[Row]):
    """The cuts of some models.

    Args:
        described: what its file says.
    """

    kind: ClassVar[str] = "cuts"
    titles: ClassVar[tuple[str, ...]] = TITLES

    def __init__(self, described: Description) -> None:
        self.described = described
        self.title = described.title

    @classmethod
    def of(cls, content: dict[str, Any]) -> "CutsTable":
        """See `Table.of`."""
        return cls(TypeAdapter(Description).validate_python(content))

    def rows(self, pattern: str = "*", most_epochs: int | None = None) -> list[Row]:
        """See `Table.rows`."""
        found = [
            Row(
                name=f"{rows.base}.{cut}",
                model=rows.base,
                base=shortened(self.described.bases[rows.base], most_epochs),
                k=rows.k,
                n=rows.n,
                split=Split(cut, rows.slots, fewer(rows.epochs, most_epochs) or 1, rows.recipe),
                images=rows.images,
                seed=self.described.seed,
            )
            for rows in self.described.rows
            for cut in rows.cuts
        ]
        return [row for row in found if fnmatchcase(row.name, pattern)]

    def run(self, row: Row, store: Store, bar: Bar, device: str) -> Iterator[Record]:
        """See `Table.run`: one record."""
        base = provide_base(row.model, row.base, row.seed, store, bar, device)
        plan = split_plan(row.k, row.split, row.seed)
        trained = provide_code(plan, base, store, bar, device)
        assert isinstance(trained.code, SplitLagrange)
        questions = Questions(first_images(base.test, row.images), base, row.seed)
        answered = questions.of(replace(trained.code, n=row.n), trained.modules)
        copies = questions.of(Replication(row.k, row.n), trained.modules)
        lost = row.n - row.k
        yield {
            **_about(row),
            **accuracies(answered, lost),
            "place": cuts(base.module).index(row.split.cut),
            "recovery_threshold": answered.code.recovery_threshold,
            "lost": lost,
            "clean": round(answered.whole.value, 5),
            "base_accuracy": base_accuracy(answered),
            "baselines": {Replication.name: accuracies(copies, lost)},
            "published": [],
            "groups": len(answered.groups),
            "costs": costs(trained.card, row.n, base),
            **of_training(trained.card, base),
        }

    def failed(self, row: Row, error: Exception) -> Record:
        """See `Table.failed`."""
        return {**_about(row), "error": f"{type(error).__name__}: {error}", **provenance()}

    def says(self, record: Record) -> str:
        """See `Table.says`."""
        _, _, stem, *_, few, every, _, _, _, _ = _cells(record)
        return f"stem {stem}, any {record['k']} of {record['n']}: {few}, all: {every}"

    def newest(self, found: Iterable[Record]) -> list[Record]:
        """See `Table.newest`."""
        return newest(found)

    def cells(self, found: Sequence[Record]) -> list[tuple[str, ...]]:
        """See `Table.cells`."""
        return cells(found)


def cells(found: Iterable[Record]) -> list[tuple[str, ...]]:
    """Records as text, under `TITLES`."""
    return [_cells(record) for record in found]


def _about(row: Row) -> Record:
    return {
        "row": row.name,
        "dataset": row.base.dataset,
        "model": row.model,
        "code": SplitLagrange.name,
        "cut": row.split.cut,
        "k": row.k,
        "n": row.n,
        "seed": row.seed,
        "spec": row.spec,
    }


def _cells(record: Record) -> tuple[str, ...]:
    found = record["costs"]
    return (
        record["model"],
        record["cut"],
        f"{found['stem']:.3f}",
        f"{found['worker']:.3f}",
        f"{found['payload']:.2f}",
        str(found["master_bytes"]),
        f"{100 * record['overall']:.1f} / {100 * record['worst']:.1f}",
        f"{100 * record['clean']:.1f}",
        f"{100 * record['base_accuracy']:.1f}",
        f"{100 * record['baselines']['replication']['overall']:.1f}",
        str(record["spec"]["split"]["epochs"]),
        f"{record['seconds']:.0f}",
    )
