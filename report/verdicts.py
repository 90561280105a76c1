"""What a sweep says in plain words: which system has the shortest tail, and whether coding pays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from report.records import Record
from report.sweeps import Point, accuracy

NEAR = 0.01  # of accuracy: a system that is worse than the best by more is no rival
MUCH = 1.1  # a tail that is longer by less is as good, for runs of this length


@dataclass(frozen=True)
class Verdict:
    """Of one point of a sweep.

    Attributes:
        where: the point.
        finding: whether coding pays.
        details: the figures behind it.
    """

    where: str
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
    floor = max(_overall(r) for r in point.records) - NEAR
    code, baseline = _shortest(coded, floor), _shortest(baselines, floor)
    if code is None:
        return Verdict(
            point.title,
            "coding does not pay: no code is about as accurate as the best baseline",
            f"{_told(max(coded, key=_overall))}; {_told(max(baselines, key=_overall))}.",
        )
    if baseline is None:
        best = max(baselines, key=_overall)
        return Verdict(
            point.title,
            "coding pays: no baseline is about as accurate as the best code",
            f"{_told(code)}; {_told(best)}.",
        )
    ratio = _tail(baseline) / _tail(code)
    if ratio >= MUCH:
        finding = f"coding pays: its tail is {ratio:.1f} times shorter"
    elif ratio > 1 / MUCH:
        finding = "a tie"
    else:
        finding = f"coding does not pay: its tail is {1 / ratio:.1f} times longer"
    return Verdict(point.title, finding, f"{_told(code)}; best baseline {_told(baseline)}.")


def _shortest(records: Sequence[Record], floor: float) -> Record | None:
    return min((r for r in records if _overall(r) >= floor), key=_tail, default=None)


def _tail(record: Record) -> float:
    return float(record["measured"]["latency"]["p999_ms"])


def _overall(record: Record) -> float:
    return accuracy(record["measured"]["overall"]) or 0.0


def _told(record: Record) -> str:
    measured = record["measured"]
    return (
        f"{record['title']}: p99.9 {_tail(record):.0f} ms, {_overall(record):.3f} overall, "
        f"{measured['cost']['measured_load_factor']:.2f} slots a query"
    )
