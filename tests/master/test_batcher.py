"""No row lost, none twice, first in first out, padding at the end only: through every history."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from master.batcher import Batcher, Limits, Plan, QueueFull, Segment

LIMITS = Limits(max_groups=2, max_delay_s=1.0, queue_rows=12)


def test_a_full_batch_leaves_at_once_and_a_part_after_the_delay() -> None:
    batcher = Batcher(4, LIMITS)
    assert batcher.next_due() is None
    assert batcher.take(0.0) is None
    batcher.add(1, 5, now=10.0, deadline=20.0)
    assert batcher.next_due() == 11.0
    assert batcher.take(10.999) is None
    batcher.add(2, 5, now=10.5, deadline=15.0)
    assert batcher.next_due() == 10.0
    segments = (Segment(1, 0, 5), Segment(2, 0, 3))
    assert batcher.take(10.5) == Plan(2, segments, 0, 15.0, 20.0, 10.0)
    assert batcher.queued_rows == 2
    assert batcher.next_due() == 11.5  # the rest keeps its own arrival
    plan = batcher.take(11.5)
    assert plan == Plan(1, (Segment(2, 3, 5),), 2, 15.0, 15.0, 10.5)
    assert plan is not None
    assert plan.rows == 2
    assert batcher.next_due() is None


def test_a_large_request_is_split_over_batches() -> None:
    batcher = Batcher(2, LIMITS)
    batcher.add(7, 11, now=0.0, deadline=9.0)
    plans = [batcher.take(0.0), batcher.take(0.0), batcher.take(0.0), batcher.take(1.0)]
    assert [plan and plan.segments for plan in plans] == [
        (Segment(7, 0, 4),),
        (Segment(7, 4, 8),),
        None,
        (Segment(7, 8, 11),),
    ]
    assert plans[3] is not None
    assert (plans[3].groups, plans[3].padding) == (2, 1)


def test_a_full_queue_refuses_and_says_so() -> None:
    batcher = Batcher(4, LIMITS)
    batcher.add(1, 10, 0.0, 9.0)
    with pytest.raises(QueueFull, match="holds 10 rows of at most 12") as refused:
        batcher.add(2, 3, 0.0, 9.0)
    assert (refused.value.queued, refused.value.limit) == (10, 12)
    assert batcher.queued_rows == 10
    batcher.add(3, 2, 0.0, 9.0)
    assert batcher.queued_rows == 12


def test_dropped_rows_never_leave() -> None:
    batcher = Batcher(4, LIMITS)
    batcher.add(1, 3, 0.0, 9.0)
    batcher.add(2, 3, 0.5, 9.0)
    assert batcher.drop(1) == 3
    assert batcher.drop(1) == 0
    assert batcher.next_due() == 1.5
    plan = batcher.take(1.5)
    assert plan is not None
    assert plan.segments == (Segment(2, 0, 3),)


def test_the_rest_of_a_split_request_can_be_dropped() -> None:
    batcher = Batcher(4, LIMITS)
    batcher.add(1, 10, 0.0, 9.0)
    assert batcher.take(0.0) is not None
    assert batcher.drop(1) == 2
    assert batcher.next_due() is None


def test_draining_waits_for_no_company() -> None:
    batcher = Batcher(4, LIMITS)
    batcher.add(1, 9, 5.0, 9.0)
    batcher.drain()
    plans = [batcher.take(5.0), batcher.take(5.0), batcher.take(5.0)]
    assert [plan and plan.rows for plan in plans] == [8, 1, None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1.0, 10), "'max_groups' must be at least 1, not 0"),
        ((1, -0.1, 10), "'max_delay_s' must be at least 0 and finite, not -0.1"),
        ((1, inf, 10), "'max_delay_s'"),
        ((1, nan, 10), "'max_delay_s'"),
        ((1, 1.0, 0), "'queue_rows' must be at least 1, not 0"),
    ],
)
def test_impossible_limits_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(*values)


def test_impossible_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="'q' must be at least 1"):
        Batcher(0, LIMITS)
    with pytest.raises(ValueError, match=r"q \* max_groups = 14 rows, not 12"):
        Batcher(7, LIMITS)
    batcher = Batcher(6, LIMITS)
    with pytest.raises(ValueError, match="'rows' must be at least 1"):
        batcher.add(1, 0, 0.0, 1.0)
    batcher.add(1, 1, 0.0, 1.0)
    with pytest.raises(ValueError, match="queued already"):
        batcher.add(1, 1, 0.0, 1.0)


class Histories(RuleBasedStateMachine):
    """Any order of calls, against a plain list of rows."""

    machine: type[Batcher] = Batcher
    q = 3

    def __init__(self) -> None:
        super().__init__()
        self.batcher = self.machine(self.q, LIMITS)
        self.now = 0.0
        self.next_request = 0
        # (request, row, arrival, deadline), oldest first.
        self.rows: list[tuple[int, int, float, float]] = []

    @rule(rows=st.integers(1, 9), allowed=st.integers(1, 5))
    def add(self, rows: int, allowed: int) -> None:
        request, self.next_request = self.next_request, self.next_request + 1
        try:
            self.batcher.add(request, rows, self.now, self.now + allowed)
        except QueueFull:
            assert len(self.rows) + rows > LIMITS.queue_rows, "it refuses only when full"
            return
        added = [(request, row, self.now, self.now + allowed) for row in range(rows)]
        self.rows += added
        assert len(self.rows) <= LIMITS.queue_rows, "the queue is bounded"

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([row[0] for row in self.rows]))
        kept = [row for row in self.rows if row[0] != request]
        assert self.batcher.drop(request) == len(self.rows) - len(kept)
        self.rows = kept

    @rule(passed=st.sampled_from([0.25, 0.5, 1.0]))
    def wait(self, passed: float) -> None:
        self.now += passed

    @rule(dice=st.integers(0, 19))
    def drain(self, dice: int) -> None:
        if dice == 13:  # rarely: from then on nothing else is tested
            self.batcher.drain()

    @rule()
    def take(self) -> None:
        full = LIMITS.max_groups * self.q
        due = len(self.rows) >= full or self.batcher.is_draining
        due = due or (bool(self.rows) and self.now >= self.rows[0][2] + LIMITS.max_delay_s)
        plan = self.batcher.take(self.now)
        if plan is None:
            assert not (due and self.rows), "what is due leaves"
            return
        assert due, "nothing leaves before it is due"
        taken, self.rows = self.rows[: plan.rows], self.rows[plan.rows :]
        left = [(s.request, row) for s in plan.segments for row in range(s.start, s.stop)]
        assert left, "no batch is empty"
        assert left == [row[:2] for row in taken], "first in, first out, each row once"
        assert len(left) == min(full, len(taken) + len(self.rows)), "a batch takes what it can"
        assert 0 <= plan.padding < self.q, "padding fills the last group only"
        assert plan.rows + plan.padding == plan.groups * self.q <= full
        deadlines = [row[3] for row in taken]
        assert plan.earliest_deadline == min(deadlines)
        assert plan.latest_deadline == max(deadlines)
        assert plan.oldest_arrival == taken[0][2]

    @rule()
    def take_just_before_it_is_due(self) -> None:
        due = self.batcher.next_due()
        if due is not None and due > self.now:
            self.now = due - 1e-6
            assert self.batcher.take(self.now) is None, "nothing leaves before it is due"

    @invariant()
    def counts_agree(self) -> None:
        assert self.batcher.queued_rows == len(self.rows), "the count is of the queue"
        due = self.batcher.next_due()
        assert (due is None) == (not self.rows), "what is queued has a moment"


STEPS = settings(
    max_examples=80, stateful_step_count=40, deadline=None, derandomize=True, database=None
)


def test_every_history_loses_no_row() -> None:
    run_state_machine_as_test(Histories, settings=STEPS)


# Planted faults: which promise catches which mutation.

# The first failure is enough; making it small takes seconds.
HUNT = settings(STEPS, phases=[Phase.generate], report_multiple_bugs=False)


class TakesNewestFirst(Batcher):
    def add(self, request: int, rows: int, now: float, deadline: float) -> None:
        super().add(request, rows, now, deadline)
        self._waiting.move_to_end(request, last=False)


class KeepsDropped(Batcher):
    def drop(self, request: int) -> int:
        waiting = self._waiting.get(request)
        return 0 if waiting is None else waiting.stop - waiting.start


class NoBound(Batcher):
    def add(self, request: int, rows: int, now: float, deadline: float) -> None:
        queued, self.queued_rows = self.queued_rows, 0
        super().add(request, rows, now, deadline)
        self.queued_rows += queued


class LeavesEarly(Batcher):
    def take(self, now: float) -> Plan | None:
        return super().take(now + 0.3)


class NeverLeaves(Batcher):
    def take(self, now: float) -> Plan | None:
        plan = super().take(now)
        return plan if plan is None or plan.padding == 0 else None


class PadsTooMuch(Batcher):
    def take(self, now: float) -> Plan | None:
        plan = super().take(now)
        if plan is None or plan.groups == self.limits.max_groups:
            return plan
        return Plan(
            plan.groups + 1,
            plan.segments,
            plan.padding + self.q,
            plan.earliest_deadline,
            plan.latest_deadline,
            plan.oldest_arrival,
        )


class ForgetsTheRest(Batcher):
    def take(self, now: float) -> Plan | None:
        plan = super().take(now)
        if plan is not None:
            self.drop(plan.segments[-1].request)
        return plan


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (TakesNewestFirst, "first in, first out|oldest_arrival|is due"),
        (KeepsDropped, "the count is of the queue"),
        (NoBound, "the queue is bounded"),
        (LeavesEarly, "nothing leaves before it is due"),
        (NeverLeaves, "what is due leaves"),
        (PadsTooMuch, "padding fills the last group only"),
        (ForgetsTheRest, "the count is of the queue"),
    ],
)
def test_every_promise_catches_its_fault(broken: type[Batcher], promise: str) -> None:
    history = type("Broken", (Histories,), {"machine": broken})
    with pytest.raises(AssertionError, match=promise):
        run_state_machine_as_test(history, settings=HUNT)
