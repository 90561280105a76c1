"""Who gets which slot, through every order of joining, leaving, sending and ending."""

from collections import Counter

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from master.assignment import Assignment

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


def pool(workers: str) -> Assignment:
    assignment = Assignment()
    for worker in workers:
        assignment.join(worker)
    return assignment


def test_slots_go_to_distinct_workers_and_the_last_go_without() -> None:
    assert pool("").assign(2) == (None, None)
    assert pool("ab").assign(4) == ("a", "b", None, None)
    assert len(set(pool("abcd").assign(3))) == 3


@pytest.mark.parametrize(("workers", "n"), [("abcd", 4), ("abcde", 3), ("abc", 1)])
def test_each_slot_visits_each_idle_worker_equally_often(workers: str, n: int) -> None:
    assignment = pool(workers)
    visits = Counter(
        (slot, worker)
        for _ in range(3 * len(workers))
        for slot, worker in enumerate(assignment.assign(n))
    )
    assert visits == {(slot, worker): 3 for slot in range(n) for worker in workers}


def test_the_least_loaded_come_first() -> None:
    assignment = pool("abc")
    for worker in "aab":
        assignment.sent(worker)
    for _ in range(3):
        assert assignment.assign(3) == ("c", "b", "a")
    assert assignment.another({"c"}) == "b"


def test_another_prefers_fresh_workers_and_falls_back_to_any_live_one() -> None:
    assignment = pool("abc")
    assert assignment.another({"a", "b"}) == "c"
    assert assignment.another({"a", "b", "c"}) in {"a", "b", "c"}
    assignment.drain("a")
    assignment.freeze("b")
    assert assignment.another({"c"}) == "c"
    assignment.leave("c")
    assert assignment.another(set()) is None


def test_resends_spread_over_idle_workers() -> None:
    assignment = pool("abc")
    chosen = []
    for _ in range(6):
        worker = assignment.another(())
        assert worker is not None
        assignment.sent(worker)
        assignment.done(worker)
        chosen.append(worker)
    assert Counter(chosen) == {"a": 2, "b": 2, "c": 2}


def test_a_newcomer_does_not_get_every_resend() -> None:
    assignment = pool("a")
    for _ in range(100):
        assignment.sent("a")
        assignment.done("a")
    assignment.join("b")
    chosen = []
    for _ in range(4):
        worker = assignment.another(())
        assert worker is not None
        assignment.sent(worker)
        assignment.done(worker)
        chosen.append(worker)
    assert Counter(chosen) == {"a": 2, "b": 2}


def test_ends_may_be_told_after_a_worker_left_and_came_back() -> None:
    assignment = pool("a")
    assignment.sent("a")
    assignment.sent("a")
    assignment.leave("a")
    assert len(assignment) == 0
    assignment.done("a")
    assignment.join("a")
    assert assignment.outstanding("a") == 1
    assignment.done("a")
    assert repr(assignment) == "Assignment(a: live 0)"
    assignment.leave("a")
    assert repr(assignment) == "Assignment()"


def test_the_queue_is_of_those_that_may_be_sent_work() -> None:
    assignment = pool("abc")
    assert (assignment.queue, pool("").queue) == (0.0, 0.0)
    for worker in "aab":
        assignment.sent(worker)
    assert assignment.queue == 1.0
    assignment.drain("a")
    assert assignment.queue == 0.5
    assignment.done("a")
    assignment.join("a")
    assert assignment.queue == pytest.approx(2 / 3)


def test_an_end_told_twice_is_a_defect() -> None:
    assignment = pool("a")
    with pytest.raises(ValueError, match="'a' has no task outstanding"):
        assignment.done("a")
    with pytest.raises(ValueError, match="'b' has no task outstanding"):
        assignment.done("b")
    with pytest.raises(KeyError):
        assignment.sent("b")


class Histories(RuleBasedStateMachine):
    """Any order of calls, against a plain bookkeeping of who is live and what is out."""

    machine: type[Assignment] = Assignment

    def __init__(self) -> None:
        super().__init__()
        self.assignment = self.machine()
        self.live: set[str] = set()
        self.gone: set[str] = set()
        self.out: Counter[str] = Counter()

    @rule(worker=NAMES)
    def join(self, worker: str) -> None:
        self.assignment.join(worker)
        self.live.add(worker)

    @rule(worker=NAMES)
    def drain(self, worker: str) -> None:
        self.assignment.drain(worker)
        self.live.discard(worker)

    @rule(worker=NAMES)
    def freeze(self, worker: str) -> None:
        self.assignment.freeze(worker)
        self.live.discard(worker)

    @rule(worker=NAMES)
    def leave(self, worker: str) -> None:
        self.assignment.leave(worker)
        self.live.discard(worker)

    @rule(n=st.integers(1, 7))
    def assign(self, n: int) -> None:
        slots = self.assignment.assign(n)
        chosen = [worker for worker in slots if worker is not None]
        assert len(slots) == n
        assert slots == (*chosen, *[None] * (n - len(chosen))), "the last slots go without"
        assert len(chosen) == min(n, len(self.live)), "no live worker is passed over"
        assert len(set(chosen)) == len(chosen), "workers are distinct"
        assert set(chosen) <= self.live, "only live workers get work"
        rest = self.live - set(chosen)
        loads = [self.out[worker] for worker in chosen]
        assert loads == sorted(loads), "the least loaded come first"
        assert all(self.out[worker] >= max(loads) for worker in rest), "the least loaded are taken"
        for worker in chosen:
            self.assignment.sent(worker)
            self.out[worker] += 1

    @rule(exclude=st.sets(NAMES))
    def another(self, exclude: set[str]) -> None:
        chosen = self.assignment.another(exclude)
        if chosen is None:
            assert not self.live, "a live worker is found"
            return
        fresh = self.live - exclude
        assert chosen in (fresh or self.live), "fresh live workers come first"
        assert self.out[chosen] == min(self.out[worker] for worker in fresh or self.live)
        self.assignment.sent(chosen)
        self.out[chosen] += 1

    @rule(worker=NAMES)
    def done(self, worker: str) -> None:
        if self.out[worker]:
            self.assignment.done(worker)
            self.out[worker] -= 1

    @invariant()
    def books_agree(self) -> None:
        self.assignment.check()
        assert len(self.assignment) == len(self.live), "only the live are counted"
        for worker in "abcde":
            assert self.assignment.outstanding(worker) == self.out[worker], "loads agree"


STEPS = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None
)


def test_every_history_keeps_the_books() -> None:
    run_state_machine_as_test(Histories, settings=STEPS)


# Planted faults: which promise catches which mutation.

# The first failure is enough; making it small takes seconds.
HUNT = settings(STEPS, phases=[Phase.generate], report_multiple_bugs=False)


class ServesTheDraining(Assignment):
    def drain(self, worker: str) -> None:
        pass


class ForgetsLoads(Assignment):
    def leave(self, worker: str) -> None:
        super().leave(worker)
        self._workers.pop(worker, None)


class RanksTheGone(Assignment):
    def leave(self, worker: str) -> None:
        self._by_wait.drop = lambda name: None  # type: ignore[method-assign]
        super().leave(worker)


class TakesInOrder(Assignment):
    def assign(self, n: int) -> tuple[str | None, ...]:
        chosen = list(self._order)[:n]
        return (*chosen, *[None] * (n - len(chosen)))


class IgnoresExclusion(Assignment):
    def another(self, exclude: object) -> str | None:
        return super().another(())


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (ServesTheDraining, "only live workers get work|the live are counted"),
        (ForgetsLoads, "loads agree|no task outstanding"),
        (RanksTheGone, "are ranked, not|only live workers get work"),
        (TakesInOrder, "the least loaded"),
        (IgnoresExclusion, "fresh live workers come first"),
    ],
)
def test_every_promise_catches_its_fault(broken: type[Assignment], promise: str) -> None:
    history = type("Broken", (Histories,), {"machine": broken})
    with pytest.raises((AssertionError, ValueError), match=promise):
        run_state_machine_as_test(history, settings=HUNT)


def test_a_hedge_avoids_the_late_worker_before_all_others() -> None:
    """All workers hold slots of the batch: any of them but the one that is late."""
    assignment = pool("abc")
    for name in "bbc":  # the late one has the least work
        assignment.sent(name)
    assert assignment.another("abc", "a") == "c"
    assert assignment.another("ab", "a") == "c"
    assert assignment.another("abc", "abc") == "a"


def test_a_hedge_goes_where_it_is_done_first() -> None:
    """An idle worker that was late lately comes after an idle one that was not, though that was
    sent more; and before one with a queue, however punctual."""
    assignment = pool("abc")
    for _ in range(3):
        for worker in "bb":
            assignment.sent(worker)
            assignment.done(worker)
        assignment.observe("a", was_late=True)
    assert assignment.another("c") == "b"
    for _ in range(3):
        assignment.sent("b")
    assert assignment.another("c") == "a"


def test_a_late_worker_gets_the_last_slot_or_none_until_it_recovers() -> None:
    """It gets parities, which it can lose, and nothing where others have the time."""
    assignment = pool("abc")
    for _ in range(10):
        assignment.observe("b", was_late=True)
    assert {assignment.assign(3)[2] for _ in range(3)} == {"b"}
    assert {assignment.assign(1)[0] for _ in range(3)} == {"a", "c"}
    assignment.sent("a")  # it takes a task longer than a late one
    assert {assignment.assign(2) for _ in range(3)} == {("c", "a")}
    for _ in range(4):
        assignment.sent("a")
    assert {assignment.assign(2) for _ in range(3)} == {("c", "b")}
    for _ in range(50):
        assignment.observe("b", was_late=False)
    assert {assignment.assign(1)[0] for _ in range(3)} == {"b", "c"}
    assignment.observe("nobody", was_late=True)


def test_a_late_worker_that_nobody_needs_is_tried_again() -> None:
    assignment = pool("abc")
    for _ in range(10):
        assignment.observe("b", was_late=True)
    groups = next(i for i in range(10_000) if assignment.assign(1) == ("b",))
    assert groups > 300


def test_a_quarantined_worker_gets_nothing_until_it_is_released() -> None:
    """And only if nothing else keeps it out."""
    assignment = pool("abc")
    assignment.sent("b")
    assignment.quarantine("b")
    assignment.quarantine("unknown")
    assert set(assignment.assign(3)) == {"a", "c", None}
    assert assignment.another(["a", "c"]) in ("a", "c")
    assignment.check()
    assignment.done("b")
    assert assignment.release("b")
    assert set(assignment.assign(3)) == set("abc")
    assert not assignment.release("b")
    assignment.quarantine("a")
    assignment.drain("a")
    assert not assignment.release("a")
    assignment.quarantine("c")
    assignment.leave("c")
    assert not assignment.release("c")
    assignment.check()
