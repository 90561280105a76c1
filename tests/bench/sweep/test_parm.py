"""ParM's table: ratios of gaps, turn by turn."""

import pytest

from bench.sweep.parm import compared, gap_ratios
from bench.sweep.record import Record, Turn
from support.plans import record


def with_gaps(system: str, *gaps_ms: float) -> Record:
    made = record("p", system)
    assert made.measured is not None
    turns = tuple(
        Turn(queries=4, p50_ms=20, p90_ms=20, p99_ms=20, p999_ms=20 + gap, max_ms=20 + gap,
             late_share=0)
        for gap in gaps_ms
    )  # fmt: skip
    all_of_them = made.measured.latency.model_copy(update={"tail_gap_ms": max(gaps_ms)})
    seen = made.measured.model_copy(update={"turns": turns, "latency": all_of_them})
    return made.model_copy(update={"measured": seen})


def test_ratios_are_of_all_turns_and_of_the_gaps_of_each() -> None:
    """Above 1 where the system's gap is smaller than uncoded."""
    base, coded = with_gaps("uncoded", 100, 90, 80), with_gaps("parity", 50, 30, 80)
    assert gap_ratios(base, coded) == pytest.approx([2, 3, 1])
    (own, row) = compared([base, coded])
    assert own[2:4] == ("1.00", "1.00, 1.00, 1.00")
    assert row[2:4] == ("1.25", "2.00, 3.00, 1.00")


def test_a_system_that_failed_is_told() -> None:
    base = with_gaps("uncoded", 100)
    failed = record("p", "parity", measured=None, failure="why")
    assert compared([base, failed])[1][1] == "failed"
