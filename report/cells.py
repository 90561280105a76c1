"""Records of every kind as cells: one system in one setting, with its accuracies, delays and costs.

Each table of the benchmarks has its own words; here is the one place that knows them. What a table
has none of is None. A table that is not known here is still shown, as it is (`report.tables`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from report.records import Record

MEASURED, DERIVED, PUBLISHED = "measured here", "derived", "published"
GUESS = "uncoded + guess"


@dataclass(frozen=True)
class Cell:
    """What one system was worth in one setting.

    Attributes:
        table: whose record it is.
        setting: data set, model and what else a figure is of.
        panel: what tells the panels of a figure apart.
        system: code, policy or baseline.
        k, n: answers and slots of a group.
        lost: lost slots of a group, or dead workers.
        waited: answers that were waited for; None: as the code wants it.
        clean, overall, worst, lost_only, agreement: accuracies in 0..1; `worst` is `overall` over
            the worst set of responders.
        interval: 95 %, of lost-only where there is one, else of overall.
        groups: coding groups, or answers, behind it.
        cost: worker passes a query, counted (1 is an uncoded query).
        origin: MEASURED, DERIVED or PUBLISHED.
        failed: why there are no figures; "" when there are.
        record: where all this is from.
    """

    table: str
    setting: str
    system: str
    k: int | None = None
    n: int | None = None
    panel: str = ""
    lost: int | None = None
    waited: int | None = None
    clean: float | None = None
    overall: float | None = None
    worst: float | None = None
    lost_only: float | None = None
    agreement: float | None = None
    interval: tuple[float, float] | None = None
    groups: int | None = None
    cost: float | None = None
    origin: str = MEASURED
    failed: str = ""
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        """Cells with the same are measurements of the same: the last one counts."""
        return (self.table, self.setting, self.panel, self.system, self.k, self.n,
                self.lost, self.waited)  # fmt: skip


def cells(found: Iterable[Record]) -> list[Cell]:
    """All cells of known tables, the newest of each, in the order of their first record."""
    tables: dict[str, list[Record]] = {}
    for record in found:
        tables.setdefault(str(record["table"]), []).append(record)
    last: dict[tuple[object, ...], Cell] = {}
    for table, records in tables.items():
        if table in READERS:
            last |= {cell.key: cell for cell in READERS[table](records)}
    return list(last.values())


def _setting(record: Mapping[str, Any]) -> str:
    dataset, model = str(record["dataset"]), str(record.get("model", ""))
    return dataset if not model else f"{dataset}: {model}"


def _cell(
    record: Record, system: str, figures: Mapping[str, Any] | None = None, **others: Any
) -> Cell:
    """Of the usual names in `figures`, by default the record itself."""
    figures = record if figures is None else figures
    interval = figures.get("interval")
    known: dict[str, Any] = {
        "table": record["table"],
        "setting": _setting(record),
        "system": system,
        "k": record.get("k"),
        "n": record.get("n"),
        "lost": record.get("lost"),
        "clean": record.get("clean"),
        "groups": record.get("groups"),
        "interval": tuple(interval) if interval else None,
        "failed": str(record.get("error", "")),
        "record": record,
        **{name: figures.get(name) for name in ("overall", "worst", "lost_only", "agreement")},
    }
    return Cell(**(known | others))


def _lagrange(found: Sequence[Record]) -> Iterator[Cell]:
    for record in found:
        if "error" in record:
            yield _cell(record, str(record["code"]))
            continue
        if record["lost"] is None:
            continue  # how long to wait for a gain: no accuracy of a fixed number of answers
        k, n, cost = record["k"], record["n"], _split_cost(record)
        panel, waited = f"k = {k}, n = {n}", record["answers"]
        yield _cell(record, str(record["code"]), cost=cost, panel=panel, waited=waited)
        for name, figures in (record.get("variants") or {}).items():
            name = f"{record['code']}, {name}"
            yield _cell(record, name, figures, cost=cost, panel=panel, waited=waited)
        for name, figures in (record.get("baselines") or {}).items():
            is_guess = name == "uncoded"
            yield _cell(
                record,
                GUESS if is_guess else name,
                figures,
                cost=1.0 if is_guess else (k + (n - k) * figures.get("cost", 1.0)) / k,
                origin=DERIVED if is_guess else MEASURED,
                clean=record.get("base_accuracy"),
                panel=panel,
                waited=waited,
            )


def _split_cost(record: Record) -> float | None:
    """Of a query: the stem, and its share of the trunks."""
    costs = record.get("costs")
    if not costs:
        return None
    return float(costs["stem"] + record["n"] * costs["worker"] / record["k"])


def _cuts(found: Sequence[Record]) -> Iterator[Cell]:
    for record in found:
        yield _cell(record, f"{record['code']}, cut {record['cut']}", cost=_split_cost(record))


def _learned(found: Sequence[Record]) -> Iterator[Cell]:
    best: dict[tuple[object, ...], Record] = {}
    for record in found:  # of two decoders the one that was better on the validation split
        key = record["row"], record.get("lost")
        if key not in best or record.get("validation", 0) >= best[key].get("validation", 0):
            best[key] = record
    for record in best.values():
        k, n = record["k"], record["n"]
        cost = None if "cost" not in record else (k + (n - k) * record["cost"]) / k
        variant = ", distinct" if str(record["row"]).endswith("distinct") else ""
        panel = f"k = {k}, n = {n}"
        name = f"{record['code']}{variant}"
        yield _cell(record, name, cost=cost, panel=panel)
        for name, overall in (record.get("baselines") or {}).items():
            yield _cell(
                record, GUESS if name == "uncoded" else name, {"overall": overall}, panel=panel,
                cost=1.0 if name == "uncoded" else n / k, origin=DERIVED,
            )  # fmt: skip


def _frontier(found: Sequence[Record]) -> Iterator[Cell]:
    for record in found:
        cut = f", cut {record['cut']}" if "split" in record["idea"] else ""
        yield _cell(record, f"{record['idea']}{cut}", cost=record["cost"] / record["k"])


def _coin(found: Sequence[Record]) -> Iterator[Cell]:
    for record in found:
        if record.get("lost_only") is None and "error" not in record:
            continue  # of an ensemble, or refused: in the table's own document
        decoder = f", {record['decoder']}" if record.get("decoder") else ""
        yield _cell(
            record, f"{record.get('method', record['code'])}{decoder}",
            setting=f"{record['dataset']}: {record.get('setting', record.get('model'))}, "
            f"seed {record.get('seed')}",
            lost=record.get("lost_models", record.get("lost")), groups=record.get("answers"),
        )  # fmt: skip


def _live(found: Sequence[Record]) -> Iterator[Cell]:
    for record in found:
        yield _cell(
            record, str(record["code"]), groups=record.get("decoded"),
            setting=f"{record['dataset']}: live, {100 * record['unavailable']:g} % of tasks late",
        )  # fmt: skip


READERS: dict[str, Callable[[Sequence[Record]], Iterable[Cell]]] = {
    "lagrange": _lagrange,
    "learned-codes": _learned,
    "cuts": _cuts,
    "frontier": _frontier,
    "coin": _coin,
    "live-accuracy": _live,
}
