"""Single histories of a coded batch, as one would tell them; and what is asked of the code.

All histories of small groups are walked in `test_gather_histories`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

import pytest

from master.events import Answer, Cancel, Fail, Judge, Judged, Lost, Replied, Send, Tick
from master.gains import Gains
from master.gather import Gather
from master.policy import FLOOR_S, NEVER, Delay
from support.toys import (
    ANY_SUBSET,
    DEADLINE,
    EARLY_HEDGE,
    EXACT_PARITY,
    IMPATIENT_AT,
    LAGRANGE,
    PARITY,
    REPLICATION,
    SOFT,
    UNCODED,
    WIDE_PARITY,
    Toy,
    begin,
    moments,
    systematic,
)


def test_parity_decodes_the_straggler_at_the_soft_moment_and_cancels_it() -> None:
    gather = begin(WIDE_PARITY, replace(SOFT, hedge=None))
    assert gather.start(0.0) == [Send(slot, 0) for slot in range(5)]
    assert gather.on(Replied(0), 0.1) == [Answer((0,), (0,), direct=True)]
    assert gather.on(Replied(4), 0.2) == []
    assert gather.on(Replied(2), 0.3) == [Answer((2,), (2,), direct=True)]
    assert gather.next_due() == 1.0
    expected = [Answer((1,), (0, 2, 4), direct=False), Cancel((1, 3))]
    assert gather.on(Tick(), 1.0) == expected
    assert gather.is_done
    assert gather.responders == (0, 2, 4)


def test_an_uncoded_slot_is_sent_again_until_its_sends_are_used_up() -> None:
    gather = begin(UNCODED, replace(SOFT, max_sends=3))
    gather.start(0.0)
    gather.on(Replied(0), 0.1)
    assert gather.on(Lost(1), 0.2) == [Send(1, 1)]
    assert gather.on(Lost(1), 0.3) == [Send(1, 2)]
    failed = Fail((1,), (0,), "too many slots are lost: 1 of 3 slots replied, 1 are still out")
    assert gather.on(Lost(1), 0.4) == [failed]
    assert gather.on(Replied(2), 0.5) == [Answer((2,), (2,), direct=True)]
    assert gather.is_done


def test_a_coded_group_spends_nothing_on_losses_that_it_can_bear() -> None:
    gather = begin(WIDE_PARITY, SOFT)
    gather.start(0.0)
    assert gather.on(Lost(0), 0.1) == []
    assert gather.on(Lost(4), 0.2) == []
    assert gather.on(Lost(3), 0.3) == [Send(0, 1)]  # an own slot before the parities


def test_with_two_workers_for_six_slots_the_own_slots_are_sent_again() -> None:
    code = Toy(6, systematic(4), threshold=4, exact=False)
    gather = begin(code, SOFT)
    gather.start(0.0)
    commands = [gather.on(Lost(slot), 0.0) for slot in (2, 3, 4, 5)]
    assert commands == [[], [], [Send(2, 1)], [Send(3, 1)]]


def test_a_hedge_sends_late_own_slots_again_as_often_as_they_have_sends_left() -> None:
    gather = begin(WIDE_PARITY, replace(EARLY_HEDGE, soft_deadline=NEVER))
    gather.start(0.0)
    gather.on(Replied(3), 0.1)
    gather.on(Replied(0), 0.1)
    assert gather.next_due() == 1.0
    assert gather.on(Tick(), 1.0) == [Send(1, 1), Send(2, 1)]
    assert gather.on(Tick(), 1.5) == []
    assert gather.on(Replied(1), 1.6) == [Cancel((1,)), Answer((1,), (1,), direct=True)]
    assert gather.on(Tick(), 2.0) == [Send(2, 2)]
    assert gather.on(Tick(), 2.9) == []


def test_a_hedge_at_once_is_one_send_a_moment() -> None:
    gather = begin(UNCODED, replace(SOFT, hedge=Delay(fixed_s=0.0), max_sends=3), frozenset({0}))
    assert gather.start(0.0) == [Send(0, 0), Send(0, 1)]
    assert gather.next_due() == FLOOR_S
    assert gather.on(Tick(), FLOOR_S) == [Send(0, 2)]


def test_a_hedge_under_first_sends_no_more_than_decoding_needs() -> None:
    gather = begin(WIDE_PARITY, replace(EARLY_HEDGE, wait="first"))
    gather.start(0.0)
    gather.on(Replied(3), 0.1)
    gather.on(Replied(0), 0.1)
    assert gather.on(Tick(), 1.0) == [Send(1, 1)]


@dataclass(frozen=True)
class Angles:
    """Slots at points of a line: an answer's gain is the distance of the nearest responder."""

    points: tuple[float, ...]
    spares: int
    k: int = 1
    exact: bool = False
    own_slots: tuple[tuple[int, ...], ...] = ((),)
    recovery_threshold: int = 1
    independent: int = 1

    @property
    def n(self) -> int:
        return len(self.points)

    def first_slots(self, answers: Sequence[int]) -> Sequence[int]:
        return range(self.n - self.spares)

    def gain(self, slots: Sequence[int]) -> list[float]:
        return [1.0 + min(abs(self.points[slot]) for slot in slots)]


def test_a_hedge_sends_the_spare_slot_that_is_worth_most_in_the_late_one_s_place() -> None:
    code = Angles((5.0, 4.0, 3.0, 0.5, 2.0), spares=3)
    policy = replace(EARLY_HEDGE, wait="first", gain_limit=2.0)
    gather = Gather(code, policy, frozenset({0}), 0.0, moments(policy), IMPATIENT_AT, DEADLINE)
    assert gather.start(0.0) == [Send(0, 0), Send(1, 0)]
    assert gather.on(Replied(0), 0.1) == []
    assert gather.on(Tick(), 1.0) == [Send(3, 0)]
    answered = [Answer((0,), (0, 3), direct=False), Cancel((1,))]
    assert gather.on(Replied(3), 1.1) == answered


def test_lost_slots_are_replaced_where_fewer_are_left_than_are_waited_for() -> None:
    code = Angles((5.0, 4.0, 3.0, 0.5), spares=2)
    policy = replace(SOFT, wait="first", recovery_threshold=2)
    gather = Gather(code, policy, frozenset({0}), 0.0, moments(policy), IMPATIENT_AT, DEADLINE)
    gather.start(0.0)
    assert gather.on(Lost(0), 0.1) == [Send(2, 0)]
    assert gather.on(Replied(1), 0.2) == []
    assert gather.on(Replied(2), 0.3) == [Answer((0,), (1, 2), direct=False)]


def test_a_hedge_without_own_slots_sends_what_the_threshold_lacks() -> None:
    gather = begin(LAGRANGE, EARLY_HEDGE)
    gather.start(0.0)
    gather.on(Replied(4), 0.1)
    assert gather.on(Tick(), 1.0) == [Send(0, 1), Send(1, 1)]


def test_a_hedge_under_all_sends_everything_late() -> None:
    gather = begin(WIDE_PARITY, replace(EARLY_HEDGE, wait="all"))
    gather.start(0.0)
    gather.on(Replied(1), 0.1)
    assert gather.on(Tick(), 1.0) == [Send(slot, 1) for slot in (0, 2, 3, 4)]


def test_a_replica_whose_answer_is_there_is_cancelled_at_once() -> None:
    gather = begin(REPLICATION, SOFT)
    gather.start(0.0)
    assert gather.on(Replied(2), 0.1) == [Answer((0,), (2,), direct=True), Cancel((0,))]


def test_slots_that_serve_no_wanted_answer_are_not_sent() -> None:
    assert begin(REPLICATION, SOFT, frozenset({1})).start(0.0) == [Send(1, 0), Send(3, 0)]
    assert len(begin(PARITY, SOFT, frozenset({1})).start(0.0)) == 3


def test_an_exact_code_does_not_wait_for_an_own_slot_that_is_lost() -> None:
    gather = begin(EXACT_PARITY, SOFT)
    gather.start(0.0)
    assert gather.on(Lost(1), 0.1) == []
    gather.on(Replied(2), 0.2)
    answers = [Answer((0,), (0,), direct=True), Answer((1,), (0, 2), direct=False), Cancel((3,))]
    assert gather.on(Replied(0), 0.3) == answers


def test_all_holds_even_own_answers_until_the_last_slot_has_ended() -> None:
    gather = begin(PARITY, replace(SOFT, wait="all"))
    gather.start(0.0)
    assert gather.on(Replied(0), 0.1) == []
    assert gather.on(Replied(2), 0.2) == []
    answers = [Answer((0,), (0,), direct=True), Answer((1,), (0, 2), direct=False)]
    assert gather.on(Lost(1), 0.3) == answers


def test_a_recovery_threshold_gives_way_when_it_cannot_be_reached() -> None:
    once = replace(SOFT, wait="first", recovery_threshold=3, hedge=None, max_sends=1)
    gather = begin(ANY_SUBSET, once)
    gather.start(0.0)
    assert gather.on(Replied(0), 0.1) == []
    assert gather.on(Lost(1), 0.2) == []
    assert gather.on(Lost(2), 0.3) == []
    assert gather.on(Lost(3), 0.4) == [Answer((0, 1), (0,), direct=False)]


def test_the_deadline_says_how_many_came() -> None:
    gather = begin(WIDE_PARITY, replace(SOFT, hedge=None))
    gather.start(0.0)
    gather.on(Replied(4), 0.1)
    gather.on(Lost(3), 0.1)
    reason = "out of time after 4000 ms: 1 of 5 slots replied, 3 are still out"
    assert gather.on(Tick(), DEADLINE) == [Fail((0, 1, 2), (4,), reason), Cancel((0, 1, 2))]


def test_a_batch_that_starts_too_late_sends_nothing() -> None:
    gather = begin(PARITY, SOFT)
    (failed,) = gather.start(DEADLINE)
    assert isinstance(failed, Fail)
    assert gather.is_done


@pytest.mark.parametrize("wanted", [frozenset(), frozenset({2}), frozenset({-1, 0})])
def test_unknown_answers_are_refused(wanted: frozenset[int]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        begin(PARITY, SOFT, wanted)


def test_an_endless_deadline_is_refused() -> None:
    with pytest.raises(ValueError, match="deadline"):
        Gather(PARITY, SOFT, frozenset({0}), 0.0, moments(SOFT), IMPATIENT_AT, inf)


# What is asked of the code.


class Counting(Toy):
    """Remembers for which slots its gain was asked."""

    def gain(self, slots: Sequence[int]) -> list[float]:
        ASKED.append(tuple(slots))
        return super().gain(slots)


ASKED: list[tuple[int, ...]] = []


def test_gain_is_not_asked_while_own_slots_answer_and_once_a_set_otherwise() -> None:
    uncoded = Gains(Counting(32, systematic(32)))
    parity = Gains(Counting(5, systematic(3), threshold=3, exact=False))
    ASKED.clear()
    gather = Gather(uncoded, SOFT, frozenset(range(32)), 0.0, moments(SOFT), 3.0, 4.0)
    gather.start(0.0)
    for slot in range(32):
        gather.on(Replied(slot), 0.1)
    assert gather.is_done
    assert ASKED == []
    for _ in range(2):
        gather = Gather(parity, SOFT, frozenset(range(3)), 0.0, moments(SOFT), 3.0, 4.0)
        gather.start(0.0)
        for slot in (0, 3, 4):
            gather.on(Replied(slot), 0.1)
        gather.on(Tick(), 1.0)
        assert gather.is_done
    assert ASKED == [(0, 3, 4)]


def test_gains_know_which_answers_no_other_slot_gives() -> None:
    assert Gains(UNCODED).own_only == 0b111
    assert Gains(REPLICATION).own_only == 0b11
    assert Gains(PARITY).own_only == 0
    for code in (REPLICATION, WIDE_PARITY, LAGRANGE):
        gains = Gains(code)
        for size in range(code.n + 1):
            for slots in combinations(range(code.n), size):
                for answer in range(code.k):
                    has = gains.has(answer, sum(1 << slot for slot in slots))
                    assert has == (size > 0 and code.gain(slots)[answer] < inf)


def test_gains_forget_before_they_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.gains.GAINS_KEPT", 4)
    gains = Gains(LAGRANGE)
    for slots in range(1, 32):
        assert gains.of(slots) == tuple(LAGRANGE.gain([s for s in range(5) if slots >> s & 1]))
        assert len(gains._known) <= 4


VOTE = Toy(5, ((),), threshold=1)  # any one result is the answer


def test_liars_are_outvoted_before_anything_is_answered() -> None:
    """An own answer waits for its judgement, too; what lied is decoded from the others."""
    gather = begin(EXACT_PARITY, replace(SOFT, wait="first", liars=1))
    gather.start(0.0)
    assert [gather.on(Replied(slot), 0.1) for slot in (0, 1, 3)] == [[], [], []]
    assert gather.on(Replied(2), 0.2) == [Judge((0, 1, 2, 3), 1)]
    assert gather.on(Judged((0, 1, 2, 3), (0,)), 0.2) == [
        Answer((1,), (1,), direct=True),
        Answer((0,), (1, 2, 3), direct=False),
    ]
    assert gather.responders == (1, 2, 3)


def test_what_does_not_fit_waits_for_one_more_and_then_fails() -> None:
    """Never for the same responders twice; the reason says what was needed."""
    gather = begin(VOTE, replace(SOFT, wait="first", liars=1, hedge=None, max_sends=1))
    gather.start(0.0)
    gather.on(Replied(0), 0.1)
    gather.on(Replied(1), 0.1)
    assert gather.on(Replied(2), 0.1) == [Judge((0, 1, 2), 1)]
    assert gather.on(Judged((0, 1, 2), None), 0.1) == []
    assert gather.on(Tick(), 1.0) == []
    assert gather.on(Replied(3), 1.1) == [Judge((0, 1, 2, 3), 1)]
    assert gather.on(Judged((0, 1, 2, 3), None), 1.1) == []
    # With one more, two liars can be found, though one was expected.
    assert gather.on(Replied(4), 1.2) == [Judge((0, 1, 2, 3, 4), 2)]
    (failed,) = gather.on(Judged((0, 1, 2, 3, 4), None), 1.2)
    assert failed == Fail(
        (0,),
        (0, 1, 2, 3, 4),
        "the results do not fit together: 5 of 5 slots replied; "
        "1 + 2 x 1 are needed against 1 liar",
    )


def test_too_few_to_outvote_a_liar_are_no_answer() -> None:
    """An exact code fails at the deadline; an approximate one answers when time is nearly up."""
    exact = begin(VOTE, replace(SOFT, liars=1, hedge=None))
    exact.start(0.0)
    exact.on(Replied(0), 0.1)
    exact.on(Replied(1), 0.1)
    assert exact.on(Tick(), IMPATIENT_AT) == []
    reason = (
        "out of time after 4000 ms: 2 of 5 slots replied, 3 are still out; "
        "1 + 2 x 1 are needed against 1 liar"
    )
    assert exact.on(Tick(), DEADLINE) == [Fail((0,), (0, 1), reason), Cancel((2, 3, 4))]
    estimate = begin(ANY_SUBSET, replace(SOFT, liars=1, hedge=None))
    estimate.start(0.0)
    estimate.on(Replied(0), 0.1)
    assert estimate.on(Replied(1), 0.1) == []
    assert estimate.on(Tick(), IMPATIENT_AT) == [Judge((0, 1), 1)]
    given = [Answer((0, 1), (1,), direct=False), Cancel((2, 3))]
    assert estimate.on(Judged((0, 1), (0,)), IMPATIENT_AT) == given


def test_a_lost_slot_is_sent_again_to_outvote_liars() -> None:
    """Though its answers can be had without; as often as it may be."""
    gather = begin(ANY_SUBSET, replace(SOFT, wait="all", liars=2, hedge=None, max_sends=2))
    gather.start(0.0)
    for slot in range(3):
        gather.on(Replied(slot), 0.1)
    gather.on(Lost(3), 0.2)  # of 2 + 2 x 2 none can be spared
    gather.on(Lost(3), 0.3)
    assert gather.sends == 5


def test_found_liars_need_not_be_outvoted_again() -> None:
    gather = begin(VOTE, replace(SOFT, wait="first", liars=2, hedge=None))
    gather.start(0.0)
    for slot in range(4):
        assert gather.on(Replied(slot), 0.1) == []
    assert gather.on(Replied(4), 0.2) == [Judge((0, 1, 2, 3, 4), 2)]
    given = [Answer((0,), (2, 3, 4), direct=False)]
    assert gather.on(Judged((0, 1, 2, 3, 4), (0, 1)), 0.2) == given
