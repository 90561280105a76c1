"""The event loop: closed forms, and what happens to work that is late, lost or no longer wanted."""

from dataclasses import replace
from math import inf

import pytest

import codes
from master.batcher import Limits
from master.extras import MOST_SAVED
from master.policy import Delay, Policy
from simulator import Poisson, Setting, Times, Workers, simulate, theory
from worker.faults import Corruption, Failure, Faults
from worker.faults import Delay as Injected
from worker.laws import Bimodal, Bursts, Constant, Expon, Lognorm

ONE_BY_ONE = Limits(max_groups=1, max_delay_s=0.0, queue_rows=1_000_000)
PATIENT = Policy(wait="first", recovery_threshold=1)


def exponential(mu: float = 1.0, interruptible: bool = True) -> Faults:
    return Faults(delay=Injected(Expon(0.0, 1 / mu), interruptible=interruptible))


def queueing(code: codes.Code, workers: Workers, rate: float, requests: int, **rest) -> Setting:
    """One group a request, nobody in a hurry."""
    defaults = {
        "policy": PATIENT,
        "rows": code.q,
        "limits": ONE_BY_ONE,
        "max_in_flight": None,
        "timeout_s": 1e6,
    }
    return Setting(code, (workers,), Poisson(rate), requests, **(defaults | rest))


UNCODED = codes.make("uncoded", k=1)

QUEUES = {
    "M/M/4: what is in flight is bounded, the rest waits in the batcher": (
        queueing(UNCODED, Workers(4, Expon(0, 1), max_rows=1), 3.0, 8_000, max_in_flight=4),
        theory.mmn(4, 3.0, 1.0),
    ),
    "M/G/1": (
        queueing(UNCODED, Workers(1, Expon(0.5, 0.5), max_rows=1), 0.6, 8_000),
        1.0 + theory.mg1_wait(0.6, 1.0, 1.25),
    ),
    "fork-join, both of two": (
        queueing(codes.make("uncoded", k=2), Workers(2, Expon(0, 1), max_rows=1), 0.5, 6_000),
        theory.fork_join_two(0.5, 1.0),
    ),
    "fork-join, the first of four": (
        queueing(
            codes.make("replication", k=1, n=4),
            Workers(4, faults=exponential(), max_rows=1),
            2.5,
            6_000,
        ),
        theory.fork_join_first(4, 2.5, 1.0),
    ),
    "redundancy-2 on four servers": (
        queueing(
            codes.make("replication", k=1, n=2),
            Workers(4, faults=exponential(), max_rows=1),
            2.4,
            8_000,
            spread="random",
        ),
        theory.redundancy(4, 2, 0.6, 1.0),
    ),
}


@pytest.mark.parametrize("name", QUEUES)
def test_queues_take_as_long_as_their_closed_forms_say(name: str) -> None:
    setting, mean_s = QUEUES[name]
    outcome = simulate(setting, "events")
    assert outcome.latency.mean == pytest.approx(mean_s, rel=0.08)  # thousands of jobs, correlated
    assert outcome.missing == 0


def test_k_of_n_is_the_order_statistic() -> None:
    code = codes.make("parity", k=8, n=10)
    workers = Workers(None, Expon(1.0, 0.5))
    setting = queueing(code, workers, 1.0, 3_000, policy=replace(PATIENT, recovery_threshold=8))
    outcome = simulate(setting, "events")
    mean_s, variance = (
        theory.shifted_exponential(10, 8, 1.0, 2.0),
        theory.shifted_exponential_variance(10, 8, 2.0),
    )
    assert outcome.latency.mean == pytest.approx(mean_s, abs=4 * (variance / 3_000) ** 0.5)
    assert outcome.latency.variance == pytest.approx(variance, rel=0.15)
    assert outcome.decoded_share == pytest.approx(0.2, abs=0.01)  # two slots of ten were too late
    assert outcome.load_factor == 1.25


def test_a_hedge_costs_and_saves_what_its_closed_form_says() -> None:
    policy = Policy(wait="first", hedge=Delay(fixed_s=1.3), max_sends=2)
    setting = queueing(UNCODED, Workers(None, Expon(1.0, 0.5)), 1.0, 6_000, policy=policy)
    outcome = simulate(setting, "events")
    assert outcome.latency.mean == pytest.approx(theory.hedged(1.0, 2.0, 1.3), rel=0.02)
    hedges = theory.hedges(1.0, 2.0, 1.3)
    assert outcome.resent / outcome.queries == pytest.approx(hedges, rel=0.04)


def test_answers_that_are_late_for_the_deadline_are_missing() -> None:
    slow = Workers(None, Bimodal(0.01, 5.0, 0.1))
    setting = queueing(UNCODED, slow, 10.0, 5_000, timeout_s=1.0)
    outcome = simulate(setting, "events")
    assert outcome.missing_share == pytest.approx(0.1, abs=4 * (0.09 / 5_000) ** 0.5)
    assert outcome.latency.max == pytest.approx(1.0)
    assert outcome.latency.quantile(0.5) == pytest.approx(0.01, rel=0.005)


def test_a_parity_answers_for_a_straggler_at_the_soft_deadline() -> None:
    code = codes.make("parity", k=2, n=3)
    workers = Workers(None, Bimodal(0.01, 5.0, 0.02))
    policy = Policy(wait="soft", soft_deadline=Delay(fixed_s=0.05))
    outcome = simulate(queueing(code, workers, 10.0, 4_000, policy=policy), "events")
    assert outcome.latency.quantile(0.97) == pytest.approx(0.05, rel=0.01)
    assert outcome.decoded_share == pytest.approx(0.02 * 0.98**2, abs=0.006)
    assert outcome.mean_gain == pytest.approx(5**0.5, rel=1e-9)  # 2 * parity - the other


def test_cancelled_work_that_waits_costs_nothing_and_what_runs_is_ended_if_it_can_be() -> None:
    code = codes.make("replication", k=1, n=2)
    law = Bimodal(0.001, 1.0, 0.5)
    costs = {}
    for interruptible in (False, True):
        delay = Injected(law, interruptible=interruptible)
        workers = Workers(2, faults=Faults(delay=delay), max_rows=1)
        costs[interruptible] = simulate(queueing(code, workers, 0.5, 2_000), "events")
    assert costs[True].worker_s_per_query < 0.6 * costs[False].worker_s_per_query
    # An idle pair is free at once when a copy is interrupted: P(both slow) of the answers wait.
    assert costs[True].latency.mean < costs[False].latency.mean


def test_tasks_of_one_pass_take_as_long_as_the_slowest() -> None:
    alone = Workers(1, Constant(0.1), max_rows=1)
    together = replace(alone, max_rows=64)
    at_once = Times((0.0, 0.001, 0.002, 0.003))  # again and again, a second later
    seen = {}
    for workers in (alone, together):
        setting = replace(
            queueing(UNCODED, workers, 1.0, 400), arrivals=Times((*at_once.at_s, 1.0, 2.0))
        )
        seen[workers.max_rows] = simulate(setting, "events").latency.max
    assert seen[1] == pytest.approx(0.4 - 0.003)
    assert seen[64] == pytest.approx(0.2 - 0.001)


FAILURES = {
    "refuse": Failure("refuse", probability=0.2),
    "drop": Failure("drop", probability=0.2),
    "exit": Failure("exit", probability=0.02),
    "hang": Failure("hang", probability=0.02),
    "disconnect": Failure("disconnect", probability=0.05),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_lost_work_is_sent_again_and_answered(kind: str) -> None:
    workers = Workers(4, Constant(0.01), Faults(failure=FAILURES[kind]), restart_s=0.5)
    policy = Policy(wait="first", hedge=Delay(fixed_s=0.2), max_sends=10)
    setting = queueing(UNCODED, workers, 20.0, 3_000, policy=policy, timeout_s=5.0)
    outcome = simulate(setting, "events")
    assert outcome.missing_share == 0.0
    assert outcome.resent > 0
    is_noticed_late = kind in ("drop", "hang")
    assert (outcome.latency.max > 0.2) == is_noticed_late


def test_dropped_results_are_missing_where_nobody_hedges() -> None:
    workers = Workers(4, Constant(0.01), Faults(failure=FAILURES["drop"]))
    outcome = simulate(queueing(UNCODED, workers, 20.0, 4_000, timeout_s=1.0), "events")
    assert outcome.missing_share == pytest.approx(0.2, abs=0.03)


def test_a_failure_at_a_time_ends_the_workers_for_good() -> None:
    workers = Workers(2, Constant(0.01), Faults(failure=Failure("exit", at_s=50.0)), restart_s=inf)
    outcome = simulate(queueing(UNCODED, workers, 10.0, 1_000, timeout_s=0.5), "events")
    assert outcome.missing_share == pytest.approx(0.6, abs=0.06)  # all but the first 50 of 110 s


def test_crashes_come_as_often_as_they_are_told_to() -> None:
    workers = Workers(1, Constant(0.001), mttf_s=1.8, restart_s=0.2)
    outcome = simulate(queueing(UNCODED, workers, 50.0, 20_000, timeout_s=0.01), "events")
    assert outcome.missing_share == pytest.approx(0.1, abs=0.03)  # about 200 crashes


def test_a_full_queue_refuses() -> None:
    limits = Limits(max_groups=1, max_delay_s=0.0, queue_rows=4)
    workers = Workers(1, Constant(0.1), max_rows=1)
    setting = queueing(UNCODED, workers, 100.0, 2_000, limits=limits, max_in_flight=1)
    outcome = simulate(setting, "events")
    assert outcome.refused == pytest.approx(1_800, abs=40)
    assert outcome.missing == outcome.refused
    assert outcome.latency.max < 0.61


def test_rows_of_several_requests_share_a_batch() -> None:
    code = codes.make("uncoded", k=4)
    limits = Limits(max_groups=2, max_delay_s=0.5, queue_rows=64)
    workers = Workers(4, Constant(0.01))
    for rows in (1, 3, 8, 11):
        setting = Setting(
            code, (workers,), Poisson(100.0 / rows), 500, rows=rows, limits=limits, timeout_s=9.0
        )
        outcome = simulate(setting, "events")
        assert outcome.direct == outcome.answers == 500 * rows
        assert outcome.latency.max < 0.6


def test_a_slow_spell_lasts() -> None:
    bursts = Injected(Bursts(0.0, 0.1, enter_probability=0.01, leave_probability=0.04))
    workers = Workers(1, Constant(0.001), Faults(delay=bursts), max_rows=1)
    outcome = simulate(queueing(UNCODED, workers, 1.0, 10_000), "events")
    assert 1 - outcome.latency.share_within(0.05) == pytest.approx(0.2, abs=0.05)


def test_equal_settings_have_equal_outcomes_and_seeds_matter() -> None:
    workers = Workers(6, Constant(0.02), exponential(20.0, False))
    code = codes.make("parity", k=4, n=6)
    setting = Setting(code, (workers,), Poisson(80.0), 1_000)
    first, again = simulate(setting, "events"), simulate(setting, "events")
    other = simulate(replace(setting, seed=1), "events")
    first.wall_s = again.wall_s = 0.0
    assert first.summary() == again.summary()
    assert first.latency.mean != other.latency.mean


def test_batches_that_nobody_waits_for_any_more_end_in_order() -> None:
    """Several of one request at a time; by their addresses in memory they made runs differ."""
    workers = Workers(6, Bimodal(0.01, 0.3, 0.1), max_rows=1)
    setting = Setting(
        codes.make("replication", k=2, n=4),
        (workers,),
        Poisson(14.0),
        300,
        rows=12,
        limits=Limits(1, 0.0, 4096),
        max_in_flight=20,
        timeout_s=0.2,
    )
    seen = [simulate(setting, "events") for _ in range(4)]
    assert seen[0].missing > 0
    assert len({(one.events, one.latency.mean, one.served) for one in seen}) == 1


def test_noise_is_not_fought_beyond_the_budget() -> None:
    """Of these lognormal tasks an eighth takes twice the median, and few three times."""
    code = codes.make("parity", k=4, n=6)
    workers = Workers(12, Lognorm(0.005, 0.01, 0.8))
    policy = Policy(wait="adaptive", budget=0.08)
    setting = queueing(code, workers, 20.0, 1_500, policy=policy, timeout_s=2.0)
    outcome = simulate(setting)
    assert outcome.sends_per_query - 1 <= 0.08 + MOST_SAVED / outcome.queries
    assert outcome.resent > 0


@pytest.mark.parametrize(("spread", "slow_share"), [("random", 0.25), ("least loaded", 0.001)])
def test_a_mixed_fleet_is_as_slow_as_those_that_are_asked(spread: str, slow_share: float) -> None:
    fast, slow = Workers(3, Constant(0.01)), Workers(1, Constant(0.2))
    setting = replace(queueing(UNCODED, fast, 1.0, 3_000), workers=(fast, slow), spread=spread)
    outcome = simulate(setting, "events")
    assert 1 - outcome.latency.share_within(0.1) == pytest.approx(slow_share, abs=0.03)


def test_a_task_that_is_cancelled_by_another_of_its_pass_ends_once() -> None:
    """Both rows of one pass: the first reply lets the second go before the pass is told of."""
    code = codes.make("replication", k=1, n=2)
    policy = Policy(wait="first", hedge=Delay(fixed_s=0.001), max_sends=3)
    setting = queueing(code, Workers(2, Constant(0.05)), 60.0, 2_000, policy=policy)
    outcome = simulate(setting, "events")
    assert outcome.resent > 0
    assert outcome.missing_share == 0.0


REFUSED = {
    "policy": {"policy": Policy(liars=1)},
    "rows": {"rows": 2_000_000},
    "workers": {"workers": ()},
    "Workers without a count": {"workers": (Workers(None), Workers(1))},
    "timeout_s": {"timeout_s": inf},
    "spread": {"spread": "evenly"},
    "requests": {"requests": 0},
    "'work' must be of the roles base, stem, not 'trunk'": {"work": {"trunk": 0.5}},
    "'work' must be above 0 and finite for 'base', not 0": {"work": {"base": 0}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    setting = queueing(UNCODED, Workers(1), 1.0, 10)
    with pytest.raises(ValueError, match=name):
        replace(setting, **REFUSED[name])


def test_workers_that_cannot_be_simulated_are_refused() -> None:
    with pytest.raises(ValueError, match="no corruption"):
        Workers(1, faults=Faults(corruption=Corruption("sign-flip")))
    with pytest.raises(ValueError, match="give a count"):
        Workers(None, mttf_s=10.0)
    with pytest.raises(ValueError, match="ascending"):
        Times((1.0, 0.5))


@pytest.mark.parametrize(("busy", "at_once"), [(0.2, True), (0.9, False)])
def test_a_budget_for_all_slots_at_once_is_used_while_workers_have_the_time(
    busy: float, at_once: bool
) -> None:
    """Busy for so much of it with what is needed alone."""
    policy = Policy(wait="adaptive", budget=0.33)
    workers = Workers(6, faults=exponential(interruptible=False), max_rows=1)
    code = codes.make("backup", k=4, n=5)
    outcome = simulate(queueing(code, workers, busy * 6 / 4, 2_000, policy=policy))
    assert (outcome.sends_per_query > 1.2) == at_once
    assert outcome.sends_per_query < 1.34
