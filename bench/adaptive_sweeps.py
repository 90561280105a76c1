"""Adaptive redundancy beside the best static policy of each point of the sweeps, from records.

Of live sweeps, and of the same plans in virtual time, where every point has requests enough for
tails.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from report.records import Record
from report.sweeps import Point, called, overall, quantile_ms, tail_quantile
from report.verdicts import NEAR

ADAPTIVE = "adaptive"  # the system's name in the plans
BOUND = 1.05  # times the best static tail: what adaptive redundancy may be worse by
TITLES = (
    "plan", "point", "tail", "adaptive, ms", "p50", "load", "best static, ms", "p50", "load",
    "adaptive is", "best at no more load, ms",
)  # fmt: skip
SIMULATED_TITLES = (
    "plan", "point", "p50, ms", "p90", "p95", "p99", "slots a query", "best static p90, ms", "p95",
    "p99",
)  # fmt: skip
SIMULATED_TAILS = ("p90_ms", "p95_ms", "p99_ms")


def simulated_rows(found: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Under `SIMULATED_TITLES`, of the newest run of each plan that has it."""
    found = list(found)
    newest = {record["plan"]: record["run"] for record in found}
    for plan, run in sorted(newest.items()):
        records = [record for record in found if (record["plan"], record["run"]) == (plan, run)]
        for point in dict.fromkeys(record["point"] for record in records):
            here = [record for record in records if record["point"] == point]
            own = next((record for record in here if record["system"] == ADAPTIVE), None)
            if own is None:
                continue
            baselines = [record for record in here if record["baseline"] and record is not own]
            tails = [_beside(own, baselines, tail) for tail in SIMULATED_TAILS]
            yield (
                plan, point,
                *("–" if own[q] is None else f"{own[q]:.0f}" for q in ("p50_ms", *SIMULATED_TAILS)),
                f"{own['sent']:.2f}", *tails,
            )  # fmt: skip


def _beside(own: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]], tail: str) -> str:
    """The baseline with the shortest tail, and how much longer ours is."""
    if own[tail] is None:
        return "–"
    answering = [record for record in baselines if record[tail] is not None]
    if not answering:
        return "none answers"
    best = min(answering, key=lambda record: float(record[tail]))
    ratio = own[tail] / best[tail]
    worse = ", worse" if ratio > BOUND else ""
    return f"{best['title']}: {best[tail]:.0f} ({100 * (ratio - 1):+.0f} %{worse})"


def rows(found: Iterable[Point]) -> Iterator[tuple[str, ...]]:
    """Under `TITLES`, of each point at which it was measured beside others about as accurate."""
    for point in found:
        own = next((r for r in point.records if r["system"] == ADAPTIVE), None)
        if own is None:
            continue
        floor = overall(own) - NEAR
        static = [r for r in point.records if r is not own and overall(r) >= floor]
        if static:
            yield _row(point, own, static)


def _row(point: Point, own: Record, static: Sequence[Record]) -> tuple[str, ...]:
    tail = tail_quantile(point.records)

    def tail_ms(record: Record) -> float:
        return quantile_ms(record, tail)

    def told(record: Record) -> str:
        return f"{record['title']}: {tail_ms(record):.0f}"

    best = min(static, key=tail_ms)
    as_cheap = min((r for r in static if _load(r) <= _load(own)), key=tail_ms, default=None)
    ratio = tail_ms(own) / tail_ms(best)
    return (
        point.plan,
        point.title,
        called(tail),
        f"{tail_ms(own):.0f}",
        f"{quantile_ms(own, 0.5):.0f}",
        f"{_load(own):.2f}",
        told(best),
        f"{quantile_ms(best, 0.5):.0f}",
        f"{_load(best):.2f}",
        f"{100 * (ratio - 1):+.0f} %" + (", worse" if ratio > BOUND else ""),
        "–" if as_cheap is None else told(as_cheap),
    )


def _load(record: Record) -> float:
    """Slots sent for a query."""
    return float(record["measured"]["cost"]["measured_load_factor"])
