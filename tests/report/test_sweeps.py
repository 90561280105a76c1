"""Points, curves and verdicts of sweeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.figures import Latency
from bench.load.histogram import LOWEST_S, LogHistogram
from bench.sweep.record import Record
from report.dimensions import front
from report.fronts import pareto
from report.sweeps import points, quantile_ms, survival, tail_quantile
from report.verdicts import verdict
from support.sweeps import SYSTEMS, sweep_record


def test_the_newest_record_of_a_system_counts_and_failures_have_no_figures() -> None:
    old, new = (sweep_record("uncoded", seed=seed) for seed in (0, 1))
    failed = sweep_record("backup", measured=None, failure="no worker came up")
    (point,) = points([old, failed, new])
    assert point.records == (new,)


def test_points_of_data_sets_are_apart() -> None:
    found = points([sweep_record("uncoded"), sweep_record("uncoded", dataset="mnist")])
    assert [point.value("dataset") for point in found] == ["fashion-mnist", "mnist"]


def test_survival_is_of_the_bins() -> None:
    record = sweep_record("uncoded", queries=5000)
    ends, beyond = survival(record)
    latency = record["measured"]["latency"]
    assert ends[-1] == latency["max_ms"]
    assert beyond[-1] == pytest.approx(0, abs=1e-12)
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.01), ("p999_ms", 0.001)):
        at = int(np.searchsorted(ends, latency[name]))
        assert beyond[at] - 1e-9 <= share <= beyond[at - 1] + 1e-9  # within a bin, 2 %


def test_the_tail_is_as_far_out_as_requests_can_tell() -> None:
    many, few = (sweep_record("uncoded", queries=count) for count in (5000, 120))
    assert tail_quantile([many]) == 0.999
    assert tail_quantile([many, few]) == 0.95  # 6 requests beyond it; 1.2 beyond p99
    assert tail_quantile([sweep_record("uncoded", queries=20)]) == 0.9
    for name, quantile in (("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999)):
        assert quantile_ms(many, quantile) == pytest.approx(
            many["measured"]["latency"][name], rel=0.03
        )
    short = [sweep_record(t, queries=120) for t in ("backup", "parity, calibrated")]
    (point,) = points(short)
    told = verdict(point)
    assert told is not None
    assert "parity, calibrated: p95 " in told.details


def test_nothing_beats_the_front() -> None:
    assert pareto([(1, 5), (2, 4), (2, 5), (3, 4), (3, 1), (1, 5)]) == [0, 1, 4, 5]
    (point,) = points([sweep_record(title) for title in SYSTEMS])
    titles = {record["title"] for record in front(point)}
    assert {"uncoded", "hedged", "backup", "split-lagrange R=4"} <= titles
    assert "replication" not in titles  # hedging is better, quicker and cheaper


def _verdict(*titles: str) -> str:
    (point,) = points([sweep_record(title) for title in titles])
    told = verdict(point)
    assert told is not None
    return told.finding


def test_verdicts_say_whether_coding_pays() -> None:
    assert _verdict("uncoded", "replication", "parity, calibrated").startswith("coding pays")
    assert _verdict("uncoded", "replication", "hedged", "split-lagrange R=4") == (
        "coding does not pay: no code is about as accurate as the best baseline"
    )
    assert _verdict("backup", "parity, calibrated").startswith("coding does not pay")
    assert _verdict("uncoded", "parity, calibrated") == (
        "coding pays: no baseline is about as accurate as the best code"
    )


def test_a_better_network_is_no_merit_of_a_code() -> None:
    """The baselines' model has .92."""
    records = [sweep_record(title) for title in ("backup", "parity, calibrated")]
    records[1]["measured"]["overall"]["value"] = 0.99
    (point,) = points(records)
    told = verdict(point)
    assert told is not None
    assert told.finding.startswith("coding does not pay: its tail is")


def test_a_load_that_was_not_kept_is_told() -> None:
    records = [sweep_record(title) for title in ("hedged", "parity, calibrated")]
    records[0]["measured"]["load"]["kept_up"] = False
    (point,) = points(records)
    told = verdict(point)
    assert told is not None
    assert told.finding.endswith("; but the load generator did not keep up")


def test_baselines_alone_have_no_verdict() -> None:
    (point,) = points([sweep_record("uncoded"), sweep_record("hedged")])
    assert verdict(point) is None


@given(st.lists(st.floats(LOWEST_S, 1e4), min_size=1, max_size=60))
def test_survival_of_a_record_is_the_share_beyond_each_end(latencies_s: list[float]) -> None:
    """Of the very latencies that a load saw, by the bins that its record has of them."""
    latency = Latency.of(LogHistogram.of(latencies_s)).model_dump(mode="json")
    ends_ms, shares = survival({"measured": {"latency": latency}})
    for end_s, share in zip(1e-3 * ends_ms[:-1], shares[:-1], strict=True):
        beyond = sum(value > end_s for value in latencies_s)
        at_the_edge = sum(abs(value / end_s - 1) < 1e-9 for value in latencies_s)
        assert abs(share * len(latencies_s) - beyond) <= at_the_edge + 1e-6
    assert ends_ms[-1] == pytest.approx(1e3 * max(latencies_s))
    assert shares[-1] == pytest.approx(0)


def test_records_are_those_that_sweeps_write() -> None:
    for title in SYSTEMS:
        written = Record.model_validate(sweep_record(title, queries=2000))
        assert written.measured is not None
