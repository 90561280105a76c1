"""Figures of a record, counted by hand."""

import json
from pathlib import Path

import pytest

from bench.sweep.counters import Counters, counted
from bench.sweep.figures import Sizes, Taken, measured
from bench.sweep.record import Record, RecordError, read
from models.cards import wilson
from support.plans import DECODED, DIRECT, MISSING, TRUTH, record, turn

SPENT = Counters(tasks=10, batches=4, groups=6, busy_s=0.5, sent_bytes=1600, master_cpu_s=0.04)
SYSTEMATIC, MIXED = Sizes(2, 3, is_systematic=True), Sizes(2, 3, is_systematic=False)


def test_accuracies_of_a_systematic_code() -> None:
    """Of eight: two wrong by the base model, one decoded wrongly, one missing."""
    first = turn([DIRECT, DIRECT, DECODED, DIRECT])
    second = turn([DECODED, DIRECT, MISSING, DIRECT], wrong=(0,))
    found = measured(
        [Taken(first, SPENT, 90.0, 200.0), Taken(second, SPENT, 100.0, None)],
        TRUTH, SYSTEMATIC, None, alive=2, seconds=1.0,
    )  # fmt: skip
    assert (found.queries, found.direct, found.decoded, found.missing) == (8, 5, 2, 1)
    credit = 3 + (0 + 1 + 0.5 + 0)
    assert found.overall.value == pytest.approx(credit / 8)
    assert found.overall.interval == wilson(round(credit), 8)
    assert found.lost_only is not None
    assert found.lost_only.count == 3
    assert found.lost_only.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert found.agreement is not None
    assert (found.agreement.value, found.agreement.count) == (0.5, 2)
    assert found.error == pytest.approx((2 / 2) ** 0.5)  # one of two of norm 1 is off by sqrt 2
    cost = found.cost
    assert cost.load_factor == 1.5
    assert cost.measured_load_factor == pytest.approx(2 * 10 * (6 / 4) / 8, rel=0.01)
    assert cost.worker_s_per_query == pytest.approx(1.0 / 8)
    assert cost.utilisation == pytest.approx(1.0 / (2 * 2))
    assert cost.sent_bytes_per_query == pytest.approx(3200 / 8)
    assert cost.master_cpu_s_per_query == pytest.approx(0.08 / 8)
    assert (cost.master_peak_mib, cost.worker_peak_mib) == (100.0, 200.0)
    assert [t.queries for t in found.turns] == [4, 4]
    assert found.latency.count == 8
    assert found.latency.max_ms == pytest.approx(20)
    assert found.load.kept_up


def test_of_a_code_that_is_not_systematic_lost_is_where_a_result_lacked() -> None:
    full, short = turn([DECODED] * 4, responders=3.0), turn([DECODED] * 4, (0,), responders=2.0)
    found = measured(
        [Taken(full, SPENT), Taken(short, SPENT)], TRUTH, MIXED, None, alive=3, seconds=1.0
    )
    assert found.lost_only is not None
    assert (found.lost_only.count, found.lost_only.value) == (4, 0.5)
    assert found.mean_responders == 2.5


def test_where_nothing_was_lost_there_is_no_such_accuracy() -> None:
    found = measured(
        [Taken(turn([DIRECT] * 4), SPENT)], TRUTH, SYSTEMATIC, None, alive=3, seconds=1.0
    )
    assert (found.lost_only, found.agreement, found.error) == (None, None, None)


def test_counters_are_read_of_one_deployment_and_all_workers() -> None:
    page = """\
# TYPE kofn_tasks counter
kofn_tasks_total{deployment="a"} 5.0
kofn_tasks_total{deployment="b"} 7.0
# TYPE kofn_batch_groups histogram
kofn_batch_groups_bucket{deployment="a",le="+Inf"} 3.0
kofn_batch_groups_count{deployment="a"} 3.0
kofn_batch_groups_sum{deployment="a"} 9.0
# TYPE kofn_worker_busy_seconds counter
kofn_worker_busy_seconds_total{worker="w0"} 0.5
kofn_worker_busy_seconds_total{worker="w1"} 0.25
# TYPE kofn_worker_sent_bytes counter
kofn_worker_sent_bytes_total{worker="w0"} 10.0
"""
    found = counted(page, "a")
    assert found == {"tasks": 5, "batches": 3, "groups": 9, "busy_s": 0.75, "sent_bytes": 10}
    now, before = Counters(**found, master_cpu_s=2), Counters(tasks=1, busy_s=0.5, master_cpu_s=1)
    assert now - before == Counters(4, 3, 9, 0.25, 10, 1)
    assert now - before + before == now


def test_a_record_is_read_back_the_same(tmp_path: Path) -> None:
    file = tmp_path / "cells.jsonl"
    written = [record("p", "a"), record("p", "b", measured=None, failure="why")]
    file.write_text("".join(f"{one.line()}\n" for one in written))
    assert list(read(file)) == written


@pytest.mark.parametrize(
    ("change", "where"),
    [({"k": "two"}, "k"), ({"surplus": 1}, "surplus"), ({"plan": None}, "plan")],
)
def test_a_line_that_is_no_record_is_refused(
    tmp_path: Path, change: dict[str, object], where: str
) -> None:
    file = tmp_path / "cells.jsonl"
    good = record("p", "a").line()
    file.write_text(f"{good}\n{json.dumps({**json.loads(good), **change})}\n")
    records = read(file)
    assert isinstance(next(records), Record)
    with pytest.raises(RecordError, match=rf"cells.jsonl:2: {where}"):
        next(records)
