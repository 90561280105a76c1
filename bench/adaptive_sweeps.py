"""Adaptive redundancy beside the best static policy of each point of the sweeps, from records."""

from collections.abc import Iterable, Iterator, Sequence

from report.records import Record
from report.sweeps import Point, called, overall, quantile_ms, tail_quantile
from report.verdicts import NEAR

ADAPTIVE = "adaptive"  # the system's name in the plans
BOUND = 1.05  # times the best static tail: what adaptive redundancy may be worse by
TITLES = (
    "plan", "point", "tail", "adaptive, ms", "p50", "load", "best static, ms", "p50", "load",
    "adaptive is", "best at no more load, ms",
)  # fmt: skip


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
