"""Each task ends once, through every order of sending, cancelling, answers and releases."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.in_hand import InHand

STEPS = st.lists(
    st.tuples(st.sampled_from(["send", "cancel", "answer", "release", "lose"]), st.integers(0, 3)),
    max_size=40,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(STEPS)
def test_each_task_ends_once_and_not_before_the_worker_is_rid_of_it(
    steps: list[tuple[str, int]],
) -> None:
    in_hand: InHand[str] = InHand()
    ends: Counter[int] = Counter()
    at_worker: list[int] = []
    cancelled: set[int] = set()
    sent = 0

    def end(task_id: int) -> None:
        ends[task_id] += 1
        assert task_id not in at_worker, "it ended while it may run"

    for step, pick in steps:
        match step:
            case "send":
                in_hand.sent(sent, lambda result, task_id=sent: end(task_id), 0.0)  # type: ignore[misc]
                at_worker.append(sent)
                sent += 1
            case "cancel":
                flying = [task_id for task_id in range(sent) if task_id in in_hand]
                if flying:
                    task_id = flying[pick % len(flying)]
                    is_told = in_hand.cancel(task_id, lambda task_id=task_id: end(task_id))  # type: ignore[misc]
                    cancelled.add(task_id)
                    assert is_told == in_hand.is_leaving(task_id) == (task_id in at_worker)
            case "answer" | "release" if at_worker:
                task_id = at_worker.pop(pick % len(at_worker))
                if step == "release":
                    in_hand.released(task_id)
                elif waiting := in_hand.answered(task_id):
                    waiting[0]("result")
                assert ends[task_id] == (step == "answer" or task_id in cancelled)
            case "lose":
                at_worker.clear()
                in_hand.lose()
                assert in_hand.is_empty
                assert ends == Counter(range(sent)), "all have ended"
    at_worker.clear()
    in_hand.lose()
    assert ends == Counter(range(sent)), "each ended once"


def test_a_loss_may_cancel_others_that_are_lost_with_it() -> None:
    in_hand: InHand[str] = InHand()
    told: list[str] = []
    in_hand.sent(0, lambda result: in_hand.cancel(1, lambda: told.append("released")) and None, 0.0)
    in_hand.sent(1, lambda result: told.append("lost"), 0.0)
    assert in_hand.lose() == 1
    assert told == ["released"]


def test_what_has_ended_cannot_be_cancelled() -> None:
    in_hand: InHand[str] = InHand()
    in_hand.sent(0, lambda result: None, 0.0)
    assert in_hand.answered(0) is not None
    assert in_hand.answered(0) is None
    with pytest.raises(KeyError):
        in_hand.cancel(0, lambda: None)
