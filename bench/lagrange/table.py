"""The table of split Lagrange networks as text: all systems of a cell side by side.

Reads records and counts; trains nothing (`bench.lagrange.measuring`).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import ceil, comb
from typing import Any, ClassVar

from pydantic import TypeAdapter

from bench.bases import Bar
from bench.lagrange.measuring import about, run_row
from bench.lagrange.plan import Description, Row, published_for, rows_of
from bench.records import provenance
from bench.table import Record, Table
from models.store import Store

BASELINES = (
    "uncoded", "replication", "backup", "parity", "berrut", "berrut, calibrated", "spline",
    "spline, calibrated",
)  # fmt: skip
VARIANTS = ("calibrated", "systematic")
TITLES = ("k", "n", "answers", "sets", *BASELINES, "**split Lagrange**", *VARIANTS, "published")
STOP_TITLES = (
    "model", "k", "n", "first k answers", "answers used", "accuracy, mean / worst set",
)  # fmt: skip
COST_TITLES = (
    "model", "k", "cut", "base", "stem / base", "worker / base", "the same, worker-heavy",
    "mix / image", "bytes a query, n", "the same, worker-heavy", "backup / base", "training, s",
)  # fmt: skip
STANDING_TITLES = ("model", "k", "cells with losses", *(f"above {name}" for name in BASELINES))
ABSENT = "–"


class SplitTable(Table[Row]):
    """All systems at equal workers.

    Args:
        described: what its file says.
    """

    kind: ClassVar[str] = "split-lagrange"
    titles: ClassVar[tuple[str, ...]] = ("model", *TITLES)

    def __init__(self, described: Description) -> None:
        self.described = described
        self.title = f"{described.title}: accuracy over all queries, mean / worst set, in percent"

    @classmethod
    def of(cls, content: dict[str, Any]) -> "SplitTable":
        """See `Table.of`."""
        return cls(TypeAdapter(Description).validate_python(content))

    def rows(self, pattern: str = "*", most_epochs: int | None = None) -> list[Row]:
        """See `Table.rows`."""
        return rows_of(self.described, pattern, most_epochs)

    def run(self, row: Row, store: Store, bar: Bar, device: str) -> Iterator[Record]:
        """See `Table.run`."""
        published = partial(published_for, self.described, row)
        return run_row(row, store, published, bar, device)

    def failed(self, row: Row, error: Exception) -> Record:
        """See `Table.failed`."""
        return {**about(row), "error": f"{type(error).__name__}: {error}", **provenance()}

    def says(self, record: Record) -> str:
        """See `Table.says`."""
        stop = record.get("stop")
        if stop:
            return f"gain {stop['gain']:g}: {stop['answers']:.2f} answers, {_both(stop)}"
        return f"{record['answers']} answers: {_both(record)}"

    def newest(self, found: Iterable[Record]) -> list[Record]:
        """See `Table.newest`."""
        return newest(found)

    def cells(self, found: Sequence[Record]) -> list[tuple[str, ...]]:
        """See `Table.cells`."""
        return [(record["model"], *text) for record, text in _shown(found)]


def newest(found: Iterable[Record]) -> list[Record]:
    """The last record of each row and number of lost slots, by row in the order of the first."""
    last: dict[tuple[object, ...], Record] = {}
    for record in found:
        if "error" not in record:
            last[record["row"], record["lost"]] = record
    return list(last.values())


def cells(found: Sequence[Record]) -> list[tuple[str, ...]]:
    """The newest records of one model as text, under `TITLES`."""
    return [text for _, text in _shown(found)]


def stop_cells(found: Iterable[Record]) -> list[tuple[str, ...]]:
    """What waiting for gain gives, beside the first k answers; under `STOP_TITLES`."""
    found = list(found)
    first = {record["row"]: record for record in found if record.get("answers") == record["k"]}
    return [
        (
            record["model"],
            str(record["k"]),
            str(record["n"]),
            _both(first[record["row"]]),
            f"{record['stop']['answers']:.2f}",
            _both(record["stop"]),
        )
        for record in found
        if record["lost"] is None
    ]


def cost_cells(found: Iterable[Record]) -> list[tuple[str, ...]]:
    """What each training costs to serve, for n = k + 1; under `COST_TITLES`."""
    rows = [record for record in found if record["lost"] == 1 and record["n"] == record["k"] + 1]
    return [_costs(record) for record in rows]


def standing_cells(found: Iterable[Record]) -> list[tuple[str, ...]]:
    """In how many cells with losses the mean is above each baseline's, and by how many points on
    average; under `STANDING_TITLES`."""
    lossy: dict[tuple[str, int], list[Record]] = {}
    for record in found:
        if record["lost"]:
            lossy.setdefault((record["model"], record["k"]), []).append(record)
    return [
        (model, str(k), str(len(rows)), *(_above(rows, name) for name in BASELINES))
        for (model, k), rows in lossy.items()
    ]


def _above(rows: Sequence[Record], name: str) -> str:
    over = [
        record["overall"] - record["baselines"][name]["overall"]
        for record in rows
        if name in record["baselines"]
    ]
    if not over:
        return ABSENT
    above = sum(points > 0 for points in over)
    return f"{above} of {len(over)} ({100 * sum(over) / len(over):+.1f})"


def _costs(record: Record) -> tuple[str, ...]:
    costs, backup = record["costs"], record["baselines"].get("backup")
    return (
        record["model"],
        str(record["k"]),
        record["spec"]["split"]["cut"],
        f"{100 * record['base_accuracy']:.2f}",
        f"{costs['stem']:.3f}",
        f"{costs['worker']:.3f}",
        f"{costs['mixer']:.3f}",
        f"{costs['payload']:.2f}",
        f"{costs['master_bytes']}, {record['n']}",
        f"{costs['worker_bytes']}, {record['n']}",
        f"{backup['cost']:.2f}" if backup else ABSENT,
        f"{record['seconds']:.0f}",
    )


def _shown(found: Sequence[Record]) -> Iterator[tuple[Record, tuple[str, ...]]]:
    """Records of k / 2 answers, and of k - 1 and more; the figures show all."""
    for record in found:
        if record["lost"] is None:
            continue
        k, answers = record["k"], record["answers"]
        if answers == ceil(k / 2) or answers >= k - 1:
            yield record, _cells(record)


def _cells(record: Record) -> tuple[str, ...]:
    all_sets = comb(record["n"], record["lost"])
    published = [
        f"{figure['system']} {100 * figure['accuracy']:.1f}" for figure in record["published"]
    ]
    return (
        str(record["k"]),
        str(record["n"]),
        str(record["answers"]),
        f"{record['sets']} of {all_sets}" if record["sampled"] else f"all {all_sets}",
        *(_system(record["baselines"].get(name)) for name in BASELINES),
        f"**{_both(record)}**",
        *(_system(record["variants"].get(name)) for name in VARIANTS),
        "; ".join(published) or ABSENT,
    )


def _system(found: Record | None) -> str:
    return _both(found) if found else ABSENT


def _both(found: Record) -> str:
    """Mean and worst set, in percent."""
    mean, worst = f"{100 * found['overall']:.1f}", f"{100 * found['worst']:.1f}"
    return mean if mean == worst else f"{mean} / {worst}"
