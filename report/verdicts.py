"""What a sweep says in plain words: which system has the shortest tail, and whether coding pays."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from report.records import Record
from report.sweeps import Point, accuracy, called, overall, quantile_ms, tail_quantile

# Of accuracy: a system that is worse than the best by more, and by more than two standard errors of
# so many queries, is no rival.
NEAR = 0.01
MUCH = 1.1  # a tail that is longer by less is as good, for runs of this length


@dataclass(frozen=True)
class Verdict:
    """Of one point of a sweep.

    Attributes:
        where: the point.
        pays: whether coding does; None is a tie.
        finding: the same in words, and by how much.
        details: the figures behind it.
    """

    where: str
    pays: bool | None
    finding: str
    details: str


def verdicts(found: Iterable[Point]) -> list[Verdict]:
    """One a point that has codes and baselines."""
    return [said for point in found if (said := verdict(point))]


def verdict(point: Point) -> Verdict | None:
    """Of the shortest tails with and without a code, among those that are about as accurate."""
    coded = [r for r in point.records if r["kind"] == "coded"]
    baselines = [r for r in point.records if r["kind"] == "baseline"]
    if not coded or not baselines:
        return None
    said = _said(point, coded, baselines)
    if all(r["measured"]["load"]["kept_up"] for r in point.records):
        return said
    return replace(said, finding=f"{said.finding}; but the load generator did not keep up")


def _said(point: Point, coded: Sequence[Record], baselines: Sequence[Record]) -> Verdict:
    told = _Told(tail_quantile(point.records), _clean(baselines))
    best = max(map(told.worth, point.records))
    queries = min(int(r["measured"]["queries"]) for r in point.records)
    floor = best - max(NEAR, 2 * math.sqrt(best * (1 - best) / queries))
    code, baseline = told.shortest(coded, floor), told.shortest(baselines, floor)
    if code is None:
        return Verdict(
            point.title,
            False,
            "coding does not pay: no code is about as accurate as the best baseline",
            f"{told.of(max(coded, key=told.worth))}; {told.of(max(baselines, key=told.worth))}.",
        )
    if baseline is None:
        nearest = max(baselines, key=told.worth)
        return Verdict(
            point.title,
            True,
            "coding pays: no baseline is about as accurate as the best code",
            f"{told.of(code)}; {told.of(nearest)}.",
        )
    ratio = told.tail_ms(baseline) / told.tail_ms(code)
    pays: bool | None
    if ratio >= MUCH:
        pays, finding = True, f"coding pays: its tail is {ratio:.1f} times shorter"
    elif ratio > 1 / MUCH:
        pays, finding = None, "a tie"
    else:
        pays = False
        finding = f"coding does not pay: its tail is {1 / ratio:.1f} times longer"
    details = f"{told.of(code)}; best baseline {told.of(baseline)}."
    return Verdict(point.title, pays, finding, details)


@dataclass(frozen=True)
class _Told:
    """Systems by the quantile that all of them can tell, and by accuracy up to the base model's: a
    better network is no merit of a code, and would serve the baselines as well."""

    quantile: float
    clean: float

    def tail_ms(self, record: Record) -> float:
        return quantile_ms(record, self.quantile)

    def shortest(self, records: Sequence[Record], floor: float) -> Record | None:
        near = (r for r in records if self.worth(r) >= floor)
        return min(near, key=self.tail_ms, default=None)

    def worth(self, record: Record) -> float:
        return min(overall(record), self.clean)

    def of(self, record: Record) -> str:
        return (
            f"{record['title']}: {called(self.quantile)} {self.tail_ms(record):.0f} ms, "
            f"{overall(record):.3f} overall, "
            f"{record['measured']['cost']['measured_load_factor']:.2f} slots a query"
        )


def _clean(baselines: Sequence[Record]) -> float:
    found = (accuracy(r["measured"]["clean"]) for r in baselines)
    return max((value for value in found if value is not None), default=1.0)
