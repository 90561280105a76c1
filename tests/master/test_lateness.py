"""What is learned of tasks' times, though the late ones are let go; and what may be spent then."""

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf

from master.adaptive import BULK, COMMON, FIRST_HOLD, LATE_AT_LEAST, Adaptive
from master.extras import CHEAPEST, DEAREST, FAIR, MOST_SAVED, Extras, Purse
from master.lateness import Lateness
from master.policy import FALLBACK_S


def test_the_law_is_the_product_limit_of_scipy() -> None:
    rng = np.random.default_rng(0)
    times, limits = rng.exponential(size=500), rng.exponential(2.0, size=500)
    law = Lateness()
    for time, limit in zip(times, limits, strict=True):
        law.add(min(time, limit), replied=bool(time <= limit))
    seen = CensoredData.right_censored(np.minimum(times, limits), times > limits)
    truth = ecdf(seen).sf
    for at in np.linspace(0.0, 2.0, 41):
        assert law.longer(at) == pytest.approx(float(truth.evaluate(at)), abs=1e-12)


def test_stragglers_that_are_always_let_go_are_not_forgotten() -> None:
    law = Lateness()
    for i in range(1000):
        is_late = i % 20 == 0
        law.add(2.0 if is_late else 1.0 + 1e-4 * i, replied=not is_late)
    assert law.longer(1.5) == pytest.approx(0.05)
    assert law.quantile(0.9) < 1.2
    assert law.chance(1.5) == pytest.approx(0.95)
    assert law.chance(1.5, after_s=1.5) == 0.0


def test_what_was_let_go_before_it_was_late_does_not_straggle() -> None:
    """A reply lets go two others, at its own moment; one task in fifty straggles for sure."""
    law = Lateness()
    for i in range(900):
        is_late = i % 50 == 0
        law.add(0.02 if is_late else 0.005, replied=i % 3 == 0 and not is_late)
    assert law.longer(0.015) > 0.6
    assert law.straggling(0.015, 0.006) == pytest.approx(18 / (18 + 294))
    assert law.straggling(0.015, 0.03) == 0.0


def test_without_early_losses_stragglers_are_the_tail_of_the_law() -> None:
    rng = np.random.default_rng(3)
    law = Lateness()
    for time in rng.exponential(size=1000):
        law.add(min(time, 2.0), replied=bool(time <= 2.0))
    assert law.straggling(1.5, 1.0) == pytest.approx(law.longer(1.5))


def test_old_tasks_are_forgotten() -> None:
    law = Lateness(window=100)
    for duration in [9.0] * 100 + [1.0] * 100:
        law.add(duration, replied=True)
    assert law.count == 100
    assert law.quantile(1.0) == 1.0
    assert law.longer(1.0) == 0.0


def test_nothing_is_known_at_first() -> None:
    assert Lateness().count == 0
    assert Lateness().longer(1.0) == 1.0


def test_a_purse_never_pays_more_than_it_earned() -> None:
    purse = Purse(0.08)
    rng = np.random.default_rng(1)
    sent, extra = 0, 0
    for _ in range(5000):
        tasks = int(rng.integers(1, 9))
        purse.earn(tasks)
        sent += tasks
        wanted = int(rng.integers(1, 5))
        if purse.can_pay(wanted):
            purse.spend(wanted)
            extra += wanted
        assert extra <= 0.08 * sent
    assert extra > 0.05 * sent  # and it pays


def test_a_purse_saves_so_much_and_no_more() -> None:
    purse = Purse(1.0)
    purse.earn(10**6)
    assert purse.level == 1.0
    assert purse.can_pay(int(MOST_SAVED))
    assert not purse.can_pay(int(MOST_SAVED) + 1)


def test_the_less_is_saved_the_more_must_be_gained_and_the_longer_one_waits() -> None:
    purse = Purse(1.0)
    extras = Extras(0.0, 1.0, 3.0, 0.9, (0.1,), purse)
    assert (purse.price, extras.late_s) == (DEAREST, 3.0)
    purse.earn(int(MOST_SAVED) // 4)
    assert FAIR < purse.price < DEAREST
    assert extras.late_s == 2.0
    purse.earn(int(MOST_SAVED) // 4)
    assert (purse.price, extras.late_s) == (FAIR, 1.0)
    purse.earn(int(MOST_SAVED))
    assert (purse.price, extras.late_s) == (CHEAPEST, 1.0)


def learn(adaptive: Adaptive, share: float, count: int = 2000, usual_s: float = 1.0) -> Extras:
    """Tasks of which some straggle, ten times slower, and are let go; batches as they come."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        if rng.random() < share:
            adaptive.ended([(4.0 * usual_s, False)])
        else:
            adaptive.ended([(usual_s * (1.0 + 0.1 * rng.random()), True)])
        found = adaptive.moments(0.0).extras
    assert found is not None
    return found


def test_before_anything_is_known_all_is_sent_at_once() -> None:
    moments = Adaptive(0.08).moments(100.0)
    assert moments.extras is not None
    assert moments.extras.at_once
    assert moments.soft_at == moments.hedge_at == 100.0 + FALLBACK_S


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_rare_stragglers_are_waited_for_as_long_as_others_take(share: float) -> None:
    extras = learn(Adaptive(0.08), share)
    assert not extras.at_once
    assert extras.again_s == pytest.approx(LATE_AT_LEAST * 1.05, abs=0.01)
    assert extras.latest_s == pytest.approx(2.1, abs=0.01)
    assert extras.new == pytest.approx(BULK * (1.0 - share), abs=0.02)


def test_common_stragglers_are_met_with_all_slots_at_once_until_they_are_rare_again() -> None:
    adaptive = Adaptive(0.08)
    assert learn(adaptive, 1.6 * COMMON * 0.08).at_once
    assert not learn(adaptive, 0.05).at_once


def test_tasks_that_take_twice_as_long_are_no_stragglers() -> None:
    """A machine that is busy slows a tenth of the tasks so: all at once would make it busier."""
    adaptive = Adaptive(0.08)
    for number in range(1000):
        adaptive.ended([(2.5 if number % 10 == 0 else 1.0, True)])
        extras = adaptive.moments(0.0).extras
        assert extras is not None
        assert number < 100 or not extras.at_once


@pytest.mark.parametrize("alone", [False, True])
def test_what_slows_a_whole_batch_makes_no_stragglers(alone: bool) -> None:
    """A fifth of the groups takes ten times as long; or as many tasks do, each by itself."""
    adaptive = Adaptive(0.08)
    rng = np.random.default_rng(8)
    for _ in range(600):
        slow = rng.random(4) < 0.2 if alone else np.repeat(rng.random() < 0.2, 4)
        adaptive.ended([(10.0 + rng.random() if one else 1.0 + rng.random(), True) for one in slow])
        extras = adaptive.moments(0.0).extras
    assert extras is not None
    assert bool(extras.at_once) == alone


def test_a_burst_of_stragglers_is_no_proof_that_they_are_common() -> None:
    adaptive = Adaptive(0.08)
    assert not learn(adaptive, 0.04, count=400).at_once
    for _ in range(20):
        adaptive.ended([(10.0, True)])
    assert not learn(adaptive, 0.04, count=100).at_once
    assert learn(adaptive, 0.3, count=400).at_once


def test_tasks_that_are_all_alike_are_not_late_by_what_noise_adds() -> None:
    adaptive = Adaptive(0.08)
    for number in range(400):
        adaptive.ended([(1.0 + 1e-9 * (number % 7), True)])
        extras = adaptive.moments(0.0).extras
    assert extras is not None
    assert extras.again_s == pytest.approx(LATE_AT_LEAST)


def test_sending_all_at_once_ends_where_it_makes_everything_slower() -> None:
    adaptive = Adaptive(0.08)
    assert learn(adaptive, 0.3).at_once
    assert not learn(adaptive, 0.3, count=800, usual_s=2.0).at_once
    assert learn(adaptive, 0.3, count=FIRST_HOLD * 1000 // 16 + 200, usual_s=2.0).at_once


def finds(adaptive: Adaptive, queue: float, batches: int) -> bool:
    """Whether all slots leave at once, after so many batches that found such a queue."""
    for _ in range(batches):
        extras = adaptive.moments(0.0, queue=queue).extras
    assert extras is not None
    return extras.at_once > 0


def test_a_budget_that_pays_for_all_slots_at_once_does_so_while_queues_are_short() -> None:
    """What is left of it is for late ones; the queue is an average, and is long before it is short
    again."""
    adaptive = Adaptive(0.33, redundancy=0.25)
    extras = learn(adaptive, 0.0)
    assert extras.at_once
    assert extras.purse.budget * 1.25 == pytest.approx(0.33 - 0.25)
    assert finds(adaptive, queue=20.0, batches=20)
    assert not finds(adaptive, queue=20.0, batches=100)
    assert not finds(adaptive, queue=2.0, batches=2000)
    assert finds(adaptive, queue=1.0, batches=2000)
    assert finds(adaptive, queue=2.0, batches=2000)


def test_a_new_deployment_on_busy_workers_learns_soon_that_they_are() -> None:
    adaptive = Adaptive(0.33, redundancy=0.25)
    learn(adaptive, 0.0, count=40)
    assert not finds(adaptive, queue=20.0, batches=8)


@pytest.mark.parametrize("redundancy", [0.0, 0.29, 1.0])
def test_a_budget_that_does_not_pay_for_that_pays_for_late_slots(redundancy: float) -> None:
    adaptive = Adaptive(0.33, redundancy)
    extras = learn(adaptive, 0.0)
    assert not extras.at_once
    assert extras.purse.budget == 0.33


def test_decoded_answers_are_taken_when_patience_ends_or_others_would_have_replied() -> None:
    adaptive = Adaptive(0.08)
    again_s = learn(adaptive, 0.0).again_s
    for patience_s in (None, again_s / 2, 2 * again_s):
        moments = adaptive.moments(100.0, patience_s)
        assert moments.soft_at == 100.0 + min(again_s, patience_s or again_s)
        assert moments.hedge_at is not None
        assert moments.hedge_at >= 100.0 + again_s
