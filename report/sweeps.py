"""Records of sweeps, read for figures and tables: points, systems, and curves of latency.

A point of a plan is a number of workers, of dead ones, a straggler law and a load; the systems at a
point were measured in turns in one run, and may be compared. A record that failed has no figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from report.records import Record

# Of the histograms in the records: bin i holds [LOWEST_MS * GROWTH^i, LOWEST_MS * GROWTH^(i + 1)).
LOWEST_MS, GROWTH = 1e-2, 1.02
TAILS = (0.999, 0.99, 0.95, 0.9)
BEYOND = 5  # requests that must lie beyond a quantile for it to say anything
DIMENSIONS = {
    "workers": "workers",
    "lost": "dead workers",
    "offered_qps": "offered load, queries/s",
    "straggler": "stragglers",
}


@dataclass(frozen=True)
class Point:
    """The systems of one point of a plan, the newest record of each.

    Attributes:
        plan: its name.
        name: of the point.
        records: those that have figures, in the order of the plan.
    """

    plan: str
    name: str
    records: tuple[Record, ...]

    def value(self, dimension: str) -> Any:
        """Of one of DIMENSIONS."""
        return self.records[0][dimension]

    @property
    def title(self) -> str:
        """In words."""
        lost = self.value("lost")
        dead = f", {lost} of them dead" if lost else ""
        return (
            f"{self.value('dataset')}, {self.value('workers')} workers{dead}, "
            f"{self.value('straggler')}, {self.value('offered_qps'):g} queries/s"
        )


def is_sweep(record: Record) -> bool:
    """Whether it is one system at a point of a plan."""
    return {"plan", "point", "system", "measured"} <= record.keys()


def points(found: Iterable[Record]) -> list[Point]:
    """By plan and point, in the order of the records; points at which all failed are left out."""
    seen: dict[tuple[str, str, str], dict[str, Record]] = {}
    for record in newest(found):
        key = str(record["plan"]), str(record["dataset"]), str(record["point"])
        if record["measured"] is not None:
            seen.setdefault(key, {})[str(record["system"])] = record
    return [Point(plan, name, tuple(records.values()))
            for (plan, _, name), records in seen.items()]  # fmt: skip


def newest(found: Iterable[Record]) -> list[Record]:
    """The last record of each system at each point; those that failed are records, too."""
    last: dict[tuple[str, ...], Record] = {}
    for record in found:
        if is_sweep(record):
            names = ("plan", "dataset", "point", "system")
            last[tuple(str(record[name]) for name in names)] = record
    return list(last.values())


def by_plan(found: Sequence[Point]) -> dict[str, list[Point]]:
    """Points of each plan."""
    plans: dict[str, list[Point]] = {}
    for point in found:
        plans.setdefault(point.plan, []).append(point)
    return plans


def survival(record: Record) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of a record's latencies: upper ends of its bins in ms, and the share that took longer.

    The last share is 0, at the longest latency.
    """
    latency = record["measured"]["latency"]
    bins = sorted((int(number), int(count)) for number, count in latency["bins"])
    numbers, counts = np.array(bins, np.float64).T
    ends = LOWEST_MS * GROWTH ** (numbers + 1)
    ends[-1] = latency["max_ms"]
    return ends, 1 - np.cumsum(counts) / counts.sum()


def tail_quantile(records: Iterable[Record]) -> float:
    """Of `TAILS` the farthest out that the fewest requests of these records can tell."""
    fewest = min(int(record["measured"]["latency"]["count"]) for record in records)
    return next((q for q in TAILS if (1 - q) * fewest >= BEYOND - 1e-9), TAILS[-1])


def quantile_ms(record: Record, quantile: float) -> float:
    """The latency that all but a share of 1 - `quantile` of the requests have at most."""
    ends, beyond = survival(record)
    return float(ends[np.argmax(beyond <= 1 - quantile + 1e-9)])


def called(quantile: float) -> str:
    """p99.9 of 0.999."""
    return f"p{100 * quantile:g}"


def overall(record: Record) -> float:
    """The share of all queries that were answered right."""
    return accuracy(record["measured"]["overall"]) or 0.0


def accuracy(metric: dict[str, Any] | None) -> float | None:
    """The value of a proportion, if it was measured."""
    return None if metric is None else float(metric["value"])
