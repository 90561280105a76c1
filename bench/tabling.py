"""Opens a table by its kind, and runs those of its rows that have no record yet."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench import records
from bench.bases import Bar
from bench.coded_training.table import CodedTrainingTable
from bench.coin.table import CoinTable
from bench.cuts.table import CutsTable
from bench.described import content_of
from bench.lagrange.table import SplitTable
from bench.polydot.table import PolydotTable
from bench.table import Record, Table
from bench.trained_codes import TrainedCodes
from models.store import Store

KINDS: dict[str, type[Table[Any]]] = {
    kind.kind: kind
    for kind in (
        TrainedCodes,
        SplitTable,
        CutsTable,
        CoinTable,
        CodedTrainingTable,
        PolydotTable,
    )
}


def open_table(name: str) -> Table[Any]:
    """The table in bench/tables/NAME.toml.

    Raises:
        FileNotFoundError: there is none.
        ValueError: its kind is unknown, or it is not as that kind wants it.
    """
    content = content_of(name)
    kind = content.get("kind")
    if kind not in KINDS:
        raise ValueError(f"The kind of {name} must be one of {', '.join(KINDS)}, not {kind!r}.")
    return KINDS[kind].of(content)


@dataclass(frozen=True)
class Running:
    """How rows are run.

    Attributes:
        name: of the table's file, and of its records'.
        store: for what is trained.
        bar: called with a title; shows progress.
        device: where to train.
        again: rows that have records, too.
        save: append records to bench/results, each row's as soon as it is measured.
    """

    name: str
    store: Store
    bar: Bar
    device: str = "cpu"
    again: bool = False
    save: bool = True


def run_rows(
    table: Table[Any], rows: Sequence[Any], how: Running, tell: Callable[[str], None]
) -> Iterator[Record]:
    """Run rows, and give their records.

    Args:
        tell: called with a line for each record.
    """
    known = {(record["row"], json.dumps(record["spec"])) for record in records.read(how.name)}
    on = "" if how.device == "cpu" else f" --device {how.device}"
    mark = {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m bench tables {how.name}{on}",
        "machine": records.machine(how.device),
    }
    for count, row in enumerate(rows, start=1):
        if not how.again and (row.name, json.dumps(row.spec)) in known:
            continue
        try:
            found = list(table.run(row, how.store, how.bar, how.device))
        except Exception as error:  # noqa: BLE001 - a failed row is a record, and others go on
            found = [table.failed(row, error)]
        whole = [{"table": how.name, **record, **mark} for record in found]
        if how.save:
            records.append(how.name, whole)
        for record in whole:
            says = record.get("error") or table.says(record)
            tell(f"{count}/{len(rows)} {record['row']}: {says}")
        yield from whole
