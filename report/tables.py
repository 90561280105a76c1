"""Tables of a report: every accuracy, latency and cost, each with its origin and provenance."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from report.cells import DERIVED, MEASURED, PUBLISHED, READERS, Cell
from report.records import Provenance, Record, provenance
from report.sweeps import is_sweep, newest

NONE = "–"
NUMERIC = "0123456789+-–∞"  # what numbers begin with
LONGEST = 60  # characters of a cell of a table that nobody laid out
ROWS = {"aicc": ("function", "size", "k", "n", "system")}  # what tells their rows apart
_TOLD = {"table", "machine", "versions", "commit", "dirty", "time", "run", "command", "seed"}


@dataclass(frozen=True)
class Table:
    """Texts in rows.

    Attributes:
        name: in the page.
        title: above it.
        origin: of its figures, where all have the same; else "".
        columns: their titles.
        rows: cells as text.
        made_by: where the records are from.
        note: below it.
    """

    name: str
    title: str
    origin: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    made_by: tuple[Provenance, ...]
    note: str = ""

    @cached_property
    def texts(self) -> tuple[bool, ...]:
        """Of each column, whether it holds words, which stand to the left."""
        return tuple(
            not all(row[place][:1] in NUMERIC for row in self.rows)
            for place in range(len(self.columns))
        )


def tables(found: Sequence[Record], cells: Sequence[Cell]) -> list[Table]:
    """All of some records.

    Args:
        found: the records.
        cells: of those of them that are accuracies.
    """
    return [
        *_sweeps(found),
        *_accuracies(cells),
        *_soaks(found),
        *_others(found),
        *_published(found),
    ]


def _sweeps(found: Iterable[Record]) -> Iterator[Table]:
    plans: dict[str, list[Record]] = {}
    for record in newest(found):
        plans.setdefault(str(record["plan"]), []).append(record)
    for plan, records in plans.items():
        yield Table(
            f"table-sweep-{plan}",
            f"Sweep: {plan}",
            MEASURED,
            (
                "data set", "workers", "dead", "stragglers", "queries/s", "system", "k", "n", "R",
                "queries", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms (95 %)", "max ms", "tail gap ms",
                "clean", "overall", "lost-only (95 %)", "of lost", "agreement", "error", "missing",
                "load n/k", "slots sent a query", "worker ms a query", "bytes a query",
                "master CPU µs a query", "peak MiB, master", "peak MiB, worker", "load kept",
            ),
            tuple(map(_sweep_row, records)),
            provenance(records),
            "Latency counts from the intended send time; a query without an answer counts as long "
            "as it was waited for, and as a guess. The tail gap is p99.9 − p50.",
        )  # fmt: skip


def _sweep_row(r: Record) -> tuple[str, ...]:
    place = (
        r["dataset"], str(r["workers"]), str(r["lost"]), r["straggler"], f"{r['offered_qps']:g}",
        r["title"], str(r["k"]), str(r["n"]), _whole(r["recovery_threshold"]),
    )  # fmt: skip
    measured = r["measured"]
    if measured is None:
        return (*place, f"failed: {r.get('failure') or 'unknown'}", *[NONE] * 21)
    latency, cost, lost = measured["latency"], measured["cost"], measured["lost_only"]
    low, high = latency["p999_interval_ms"]
    upper = "∞" if high is None else f"{high:.1f}"
    return (
        *place,
        f"{measured['queries']}",
        *(f"{latency[name]:.1f}" for name in ("p50_ms", "p90_ms", "p99_ms")),
        f"{latency['p999_ms']:.1f} ({low:.1f}–{upper})",
        f"{latency['max_ms']:.1f}",
        f"{latency['tail_gap_ms']:.1f}",
        _share(measured["clean"] and measured["clean"]["value"]),
        _share(measured["overall"]["value"]),
        NONE if lost is None else _with_interval(lost["value"], lost["interval"]),
        NONE if lost is None else str(lost["count"]),
        _share(measured["agreement"] and measured["agreement"]["value"]),
        NONE if measured["error"] is None else f"{measured['error']:.3f}",
        str(measured["missing"]),
        f"{cost['load_factor']:.2f}",
        f"{cost['measured_load_factor']:.3f}",
        f"{1e3 * cost['worker_s_per_query']:.2f}",
        f"{cost['sent_bytes_per_query']:.0f}",
        f"{1e6 * cost['master_cpu_s_per_query']:.0f}",
        _whole(cost["master_peak_mib"]),
        _whole(cost["worker_peak_mib"]),
        "yes" if measured["load"]["kept_up"] else "no",
    )


def _accuracies(cells: Iterable[Cell]) -> Iterator[Table]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.table, []).append(cell)
    for table, found in groups.items():
        yield Table(
            f"table-{table}",
            f"Accuracies: {table}",
            "",
            ("setting", "system", "k", "n", "answers", "lost", "clean", "overall", "worst",
             "lost-only", "agreement", "95 %", "groups", "passes a query", "origin"),
            tuple(map(_accuracy_row, found)),
            provenance(cell.record for cell in found),
            "The interval is of lost-only where there is one, else of overall. Passes are counted "
            "forward passes of the whole model for a query, and derived.",
        )  # fmt: skip


def _accuracy_row(cell: Cell) -> tuple[str, ...]:
    place = (cell.setting, cell.system, *map(_whole, (cell.k, cell.n, cell.waited, cell.lost)))
    if cell.failed:
        return (*place, f"failed: {cell.failed}", *[NONE] * 7, cell.origin)
    return (
        *place,
        *map(_share, (cell.clean, cell.overall, cell.worst, cell.lost_only, cell.agreement)),
        NONE if cell.interval is None else f"{cell.interval[0]:.3f}–{cell.interval[1]:.3f}",
        _whole(cell.groups),
        NONE if cell.cost is None else f"{cell.cost:.3f}",
        cell.origin,
    )


def _soaks(found: Iterable[Record]) -> Iterator[Table]:
    for number, run in enumerate((r for r in found if r["table"] == "soak"), 1):
        columns = tuple(dict.fromkeys(key for told in run["systems"].values() for key in told))
        yield Table(
            f"table-soak-{number}",
            f"Chaos run {number}: requests and rows",
            MEASURED,
            ("system", *(column.replace("_", " ") for column in columns)),
            tuple(
                (name, *(_plain(told.get(column)) for column in columns))
                for name, told in run["systems"].items()
            ),
            provenance([run]),
        )


def _others(found: Iterable[Record]) -> Iterator[Table]:
    """Tables that nobody laid out: plain values and those one level below, newest run only."""
    groups: dict[str, list[Record]] = {}
    for record in found:
        known = record["table"] in READERS or record["table"] == "soak" or is_sweep(record)
        if not known:
            groups.setdefault(str(record["table"]), []).append(record)
    for table, records in groups.items():
        last = _last(table, records)
        flat = [dict(_flat(record)) for record in last]
        columns = tuple(dict.fromkeys(key for row in flat for key in row))
        yield Table(
            f"table-{table}",
            table,
            DERIVED if records[0].get("origin") == DERIVED else MEASURED,
            columns,
            tuple(tuple(row.get(column, NONE) for column in columns) for row in flat),
            provenance(last),
        )


def _last(table: str, records: Sequence[Record]) -> list[Record]:
    """Those of the last run; of a table whose rows are run one by one the last of each row."""
    if table not in ROWS:
        return [record for record in records if record.get("run") == records[-1].get("run")]
    kept = {tuple(record.get(name) for name in ROWS[table]): record for record in records}
    return list(kept.values())


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for part in value:  # errors by the number of answers
                if {"answers", "mean"} <= part.keys():
                    yield f"{key}, {part['answers']} answers", _plain(part["mean"])
        if key in _TOLD or isinstance(value, list):
            continue
        if isinstance(value, dict):
            for inner, part in value.items():
                if not isinstance(part, dict | list):
                    yield f"{key}: {inner}".replace("_", " "), _plain(part)
        else:
            yield key.replace("_", " "), _plain(value)


def _published(found: Iterable[Record]) -> Iterator[Table]:
    """Figures of papers that records stand beside, each once."""
    seen: dict[str, Mapping[str, Any]] = {}
    for record in found:
        figures = record.get("published") or ()
        for figure in [figures] if isinstance(figures, Mapping) else figures:
            place = {key: record[key] for key in ("dataset", "k", "n") if key in record}
            told = {**place, **figure}
            seen.setdefault(repr(sorted(told.items(), key=str)), told)
    if seen:
        columns = tuple(dict.fromkeys(key for figure in seen.values() for key in figure))
        yield Table(
            "table-published",
            "Figures of papers",
            PUBLISHED,
            columns,
            tuple(
                tuple(_plain(figure.get(column)) for column in columns) for figure in seen.values()
            ),
            (),
            "Not measured here: of other networks, data preparations and machines.",
        )


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"


def _with_interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.4f} ({interval[0]:.3f}–{interval[1]:.3f})"


def _plain(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
