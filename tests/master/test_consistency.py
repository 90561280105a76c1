"""The alarm about results that do not fit together: when it is raised, and when it ends."""

import pytest

from master.consistency import ENOUGH, RECENT, Consistency


def test_one_suspicious_batch_is_chance() -> None:
    seen = Consistency()
    changes = [seen.add(0.1, is_suspicious=i % RECENT == 0) for i in range(5 * RECENT)]
    assert not any(changes)
    assert (seen.checked, seen.suspicious) == (5 * RECENT, 5)


def test_several_raise_an_alarm_that_ends_when_none_is_left() -> None:
    seen = Consistency()
    raised = [seen.add(1.0, is_suspicious=True) for _ in range(ENOUGH + 2)]
    assert raised == [False] * (ENOUGH - 1) + [True] + [False] * 2
    ended = [seen.add(0.1, is_suspicious=False) for _ in range(RECENT)]
    assert ended == [False] * (RECENT - 1) + [True]
    assert not seen.is_alarmed


def test_the_figure_is_of_the_last_batches() -> None:
    seen = Consistency()
    seen.add(0.5, is_suspicious=False)
    assert seen.residual == 0.5
    for _ in range(60):
        seen.add(0.1, is_suspicious=False)
    assert seen.residual == pytest.approx(0.1, abs=0.01)
