"""Slots that take more or less than the model itself, and a stem before them."""

from dataclasses import replace

import pytest

import codes
from master.batcher import Limits
from master.policy import Policy
from simulator import Method, Poisson, Setting, Workers, method_of, simulate, theory
from simulator.outcome import Outcome
from worker.laws import Constant, Expon

ONE_BY_ONE = Limits(max_groups=1, max_delay_s=0.0, queue_rows=1_000_000)
BACKUP = codes.make("backup", k=2, n=3)


def setting_of(code: codes.Code, workers: Workers, **rest) -> Setting:
    defaults = {
        "policy": Policy(wait="all"),
        "rows": code.q,
        "limits": ONE_BY_ONE,
        "max_in_flight": None,
        "timeout_s": 1e6,
    }
    return Setting(code, (workers,), Poisson(10.0), 2_000, **(defaults | rest))


BY_METHOD: dict[Method, Setting] = {
    "events": setting_of(BACKUP, Workers(6, Expon(0.01, 0.01))),
    "recursion": setting_of(BACKUP, Workers(6, Expon(0.01, 0.01), max_rows=1), spread="random"),
    "independent": setting_of(BACKUP, Workers(None, Expon(0.01, 0.01))),
}


def told(outcome: Outcome) -> dict[str, object]:
    return {key: value for key, value in outcome.summary().items() if key != "wall_s"}


@pytest.mark.parametrize("method", BY_METHOD)
def test_a_factor_of_one_changes_nothing(method: Method) -> None:
    setting = BY_METHOD[method]
    assert method_of(setting) == method
    ones = replace(setting, work={"base": 1.0, "student": 1.0})
    assert told(simulate(ones)) == told(simulate(setting))


@pytest.mark.parametrize("method", BY_METHOD)
def test_a_factor_of_half_on_all_is_half_the_service(method: Method) -> None:
    setting = BY_METHOD[method]
    halves = replace(setting, work={"base": 0.5, "student": 0.5})
    (workers,) = setting.workers
    quicker = replace(setting, workers=(replace(workers, service=Expon(0.005, 0.005)),))
    assert told(simulate(halves)) == pytest.approx(told(simulate(quicker)), nan_ok=True)


@pytest.mark.parametrize("method", BY_METHOD)
def test_a_student_costs_its_share(method: Method) -> None:
    setting = BY_METHOD[method]
    (workers,) = setting.workers
    fixed = replace(setting, workers=(replace(workers, service=Constant(0.02)),))
    outcome = simulate(replace(fixed, work={"student": 0.3}))
    assert outcome.worker_s_per_query == pytest.approx(0.02 * (2 + 0.3) / 2, rel=1e-2)


def test_a_student_that_is_quick_answers_first() -> None:
    setting = setting_of(BACKUP, Workers(None, Constant(0.02)), policy=Policy(wait="first"))
    assert simulate(replace(setting, work={"student": 0.5})).latency.max == pytest.approx(0.01)
    assert simulate(replace(setting, work={"student": 2.0})).latency.max == pytest.approx(0.02)


def test_slots_that_differ_matter_to_who_gets_them() -> None:
    code = codes.make("backup", k=1, n=2)
    setting = setting_of(code, Workers(2, Constant(0.01), max_rows=1), policy=Policy(wait="first"))
    assert method_of(setting) == "recursion"
    assert method_of(replace(setting, work={"student": 0.5})) == "events"


def test_a_stem_is_one_queue_before_all_workers() -> None:
    """An M/D/1 queue, then a service that never waits."""
    setting = setting_of(codes.make("uncoded", k=1), Workers(None, Constant(0.2)))
    setting = replace(setting, requests=10_000, work={"stem": 0.3})
    outcome = simulate(setting)
    stem_s = 0.3 * 0.2
    wait_s = theory.mg1_wait(10.0, stem_s, stem_s**2)
    assert outcome.latency.mean == pytest.approx(stem_s + wait_s + 0.2, rel=0.02)
    assert outcome.master_s_per_query == pytest.approx(stem_s)
    assert outcome.worker_s_per_query == pytest.approx(0.2, rel=0.01)
    assert simulate(replace(setting, work={})).master_s == 0.0
