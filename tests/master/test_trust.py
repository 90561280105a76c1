"""Whom the master believes: histories of lies, with the time as an argument."""

from itertools import product

import pytest

from master.trust import FIRST_QUARANTINE_S, LIMIT, LONGEST_QUARANTINE_S, PROVEN, Trust


def lie(trust: Trust, now: float, times: int = 1, has_spare: bool = True) -> list[bool]:
    return [trust.heard("a", True, has_spare, now) for _ in range(times)]


def test_a_steady_liar_is_quarantined_and_others_are_not() -> None:
    trust = Trust()
    assert trust.score("a") == 1.0
    assert lie(trust, 0.0, 4) == [False, False, False, True]
    assert trust.heard("b", False, True, 0.0) is False
    assert (trust.standing("a"), trust.standing("b")) == ("quarantined", "trusted")
    assert trust.score("a") == pytest.approx(0.8**4)
    assert (trust.lies("a"), trust.lies("b"), trust.lies("c")) == (4, 0, 0)
    assert repr(trust) == "Trust(a: quarantined 0.41, b: trusted 1.00)"


def test_a_false_alarm_now_and_then_is_forgiven() -> None:
    """One in ten, for ever."""
    trust = Trust()
    for number in range(1000):
        assert not trust.heard("a", number % 10 == 0, True, 0.0)
    assert trust.standing("a") == "trusted"


def test_probation_ends_with_one_more_lie_or_with_proof() -> None:
    """The second quarantine is twice as long; who proves itself begins anew."""
    trust = Trust()
    lie(trust, 0.0, 4)
    assert trust.next_due() == FIRST_QUARANTINE_S
    assert trust.release(FIRST_QUARANTINE_S - 1) == []
    assert trust.release(FIRST_QUARANTINE_S) == ["a"]
    assert (trust.standing("a"), trust.score("a")) == ("on probation", LIMIT)
    assert trust.next_due() is None
    assert lie(trust, 100.0) == [True]
    assert trust.next_due() == 100.0 + 2 * FIRST_QUARANTINE_S
    assert trust.release(1000.0) == ["a"]
    honest = 0
    while trust.standing("a") == "on probation":
        trust.heard("a", False, True, 1000.0)
        honest += 1
    assert honest == 8
    assert trust.score("a") > PROVEN
    assert any(lie(trust, 2000.0, 4))
    assert trust.next_due() == 2000.0 + FIRST_QUARANTINE_S


def test_quarantines_have_a_longest() -> None:
    trust, now = Trust(), 0.0
    lie(trust, now, 4)
    for _ in range(20):
        due = trust.next_due()
        assert due is not None
        assert due - now <= LONGEST_QUARANTINE_S
        now = due
        trust.release(now)
        assert lie(trust, now) == [True]
    assert trust.next_due() == now + LONGEST_QUARANTINE_S


def test_nobody_is_spared_who_is_needed() -> None:
    """It goes on serving, mistrusted, until another can take its place."""
    trust = Trust()
    assert not any(lie(trust, 0.0, 10, has_spare=False))
    assert trust.standing("a") == "trusted"
    assert trust.score("a") < 0.2
    assert not trust.heard("a", False, True, 0.0)  # an honest result is no reason
    assert lie(trust, 0.0) == [True]


def test_late_results_of_a_quarantined_worker_change_no_standing() -> None:
    trust = Trust()
    lie(trust, 0.0, 4)
    for _ in range(50):
        assert not trust.heard("a", False, True, 1.0)
    assert trust.standing("a") == "quarantined"
    assert lie(trust, 1.0, 5) == [False] * 5
    assert trust.next_due() == FIRST_QUARANTINE_S


def test_who_is_forgotten_is_new() -> None:
    trust = Trust()
    lie(trust, 0.0, 4)
    trust.forget("a")
    trust.forget("unknown")
    assert (trust.score("a"), trust.standing("a"), trust.next_due()) == (1.0, "trusted", None)


def test_every_short_history_keeps_what_is_promised() -> None:
    """All of nine steps, each an honest result, a lie, or a minute that passes."""
    for steps in product("hlm", repeat=9):
        trust, now = Trust(), 0.0
        for step in steps:
            before = trust.standing("a")
            if step == "m":
                now += 60.0
                for name in trust.release(now):
                    assert (name, before) == ("a", "quarantined")
            else:
                is_new = trust.heard("a", step == "l", True, now)
                assert is_new == (trust.standing("a") == "quarantined" != before)
            assert 0.0 <= trust.score("a") <= 1.0
            due = trust.next_due()
            assert (due is not None) == (trust.standing("a") == "quarantined")
            assert due is None or due > now - 60.0
        assert trust.lies("a") == steps.count("l")
