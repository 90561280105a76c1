"""The three ways of simulating say the same, wherever two of them fit; and which fits is told."""

from dataclasses import replace

import pytest

import codes
from master.batcher import Limits
from master.policy import Delay, Policy
from simulator import Outcome, Poisson, Setting, Times, Workers, method_of, simulate
from worker.faults import Delay as Injected
from worker.faults import Failure, Faults
from worker.laws import Bimodal, Bursts, Constant, Expon, Law, Pareto

ONE_BY_ONE = Limits(max_groups=1, max_delay_s=0.0, queue_rows=1_000_000)
FIRST, ALL = Policy(wait="first"), Policy(wait="all")
SOFT = Policy(wait="soft", soft_deadline=Delay(fixed_s=0.03))
THREE = Policy(wait="first", recovery_threshold=3)
HEDGED = Policy(wait="first", hedge=Delay(fixed_s=0.03), max_sends=2)
CAREFUL = Policy(wait="first", gain_limit=3.0, soft_deadline=Delay(fixed_s=0.05))
SOMETIMES_SLOW = Bimodal(0.0, 0.08, 0.1)


def setting_of(
    code: codes.Code,
    policy: Policy,
    count: int | None,
    *,
    delay: Law = SOMETIMES_SLOW,
    interruptible: bool = False,
    **rest,
) -> Setting:
    faults = Faults(delay=Injected(delay, interruptible=interruptible))
    workers = Workers(count, Expon(0.01, 0.005), faults, max_rows=1)
    defaults = {
        "arrivals": Poisson(8.0),
        "requests": 60_000,
        "policy": policy,
        "rows": code.q,
        "limits": ONE_BY_ONE,
        "max_in_flight": None,
        "timeout_s": 0.4,
    }
    return Setting(code, (workers,), **(defaults | rest))


ONE, TWO = codes.make("uncoded", k=1), codes.make("uncoded", k=2)
COPIES, EVEN = codes.make("replication", k=1, n=2), codes.make("replication", k=2, n=4)
PARITY, BACKUP = codes.make("parity", k=3, n=4), codes.make("backup", k=3, n=4)
BERRUT = codes.make("berrut", k=3, n=4)
LAGRANGE = codes.make("lagrange", k=2, n=5, degree=2)

INDEPENDENT = {
    "uncoded": setting_of(TWO, FIRST, None),
    "all": setting_of(PARITY, ALL, None),
    "parity first": setting_of(PARITY, FIRST, None),
    "parity threshold": setting_of(PARITY, THREE, None, interruptible=True),
    "parity soft": setting_of(PARITY, SOFT, None),
    "backup soft": setting_of(BACKUP, SOFT, None),
    "a cheap student": setting_of(BACKUP, SOFT, None, work={"student": 0.25}),
    "berrut soft": setting_of(BERRUT, SOFT, None),
    "berrut threshold": setting_of(BERRUT, THREE, None),
    "gain limit": setting_of(BERRUT, CAREFUL, None),
    "exact without own slots": setting_of(LAGRANGE, SOFT, None, delay=Pareto(0.0, 0.01, 2.2)),
    "copies, interrupted": setting_of(EVEN, FIRST, None, interruptible=True),
    "copies hedged": setting_of(EVEN, HEDGED, None),
    "parity hedged": setting_of(PARITY, HEDGED, None, interruptible=True),
    "all hedged": setting_of(TWO, replace(HEDGED, wait="all"), None),
    "deadline": setting_of(PARITY, SOFT, None, timeout_s=0.06),
    "all by a deadline": setting_of(PARITY, ALL, None, timeout_s=0.06),
    "a hedge after the deadline": setting_of(TWO, HEDGED, None, timeout_s=0.025),
    "several groups": setting_of(
        PARITY, SOFT, None, rows=6, limits=Limits(2, 0.0, 1_000), overhead=Expon(0.001, 0.001)
    ),
}
RECURSIVE = {
    "one worker": setting_of(ONE, FIRST, 1, arrivals=Poisson(20.0), timeout_s=9.0),
    "three workers, one queue": setting_of(ONE, FIRST, 3, arrivals=Poisson(70.0), max_in_flight=3),
    "all of two": setting_of(TWO, FIRST, 2, arrivals=Poisson(12.0)),
    "first of two": setting_of(COPIES, FIRST, 2, arrivals=Poisson(25.0), interruptible=True),
    "first of two, served to the end": setting_of(COPIES, FIRST, 2, arrivals=Poisson(12.0)),
    "parity on its workers": setting_of(PARITY, FIRST, 4, spread="random", arrivals=Poisson(12.0)),
    "a cheap student on its workers": setting_of(
        BACKUP, FIRST, 4, spread="random", arrivals=Poisson(12.0), work={"student": 0.25}
    ),
    "parity soft on some of ten": setting_of(
        PARITY, SOFT, 10, spread="random", arrivals=Poisson(30.0), overhead=Constant(0.002)
    ),
    "copies on some of eight": setting_of(
        EVEN, FIRST, 8, spread="random", arrivals=Poisson(25.0), interruptible=True
    ),
    "deadlines in the queue": setting_of(ONE, FIRST, 1, arrivals=Poisson(32.0), timeout_s=0.1),
}


def agree(first: Outcome, other: Outcome, *, loosely: float) -> None:
    """Two estimates of the same: shares to a percent of all, the rest to a few of itself."""
    for share in ("direct_share", "decoded_share", "missing_share"):
        assert getattr(first, share) == pytest.approx(getattr(other, share), abs=0.012 * loosely)
    for name in ("load_factor", "sends_per_query", "worker_s_per_query"):
        assert getattr(first, name) == pytest.approx(getattr(other, name), rel=0.03 * loosely)
    if first.decoded > 300:
        assert first.mean_gain == pytest.approx(other.mean_gain, rel=0.03 * loosely)
    assert first.latency.mean == pytest.approx(other.latency.mean, rel=0.03 * loosely)
    for q in (0.25, 0.5):
        expected = other.latency.quantile(q)
        assert first.latency.quantile(q) == pytest.approx(expected, rel=0.03 * loosely)
    for at_s in (0.02, 0.04, 0.09):
        expected = other.latency.share_within(at_s)
        assert first.latency.share_within(at_s) == pytest.approx(expected, abs=0.015 * loosely)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_arrays_say_what_events_say(name: str) -> None:
    setting = INDEPENDENT[name]
    assert method_of(setting) == "independent"
    agree(simulate(setting), simulate(replace(setting, requests=4_000), "events"), loosely=1.5)


@pytest.mark.parametrize("name", RECURSIVE)
def test_the_recursion_says_what_events_say(name: str) -> None:
    setting = RECURSIVE[name]
    assert method_of(setting) == "recursion"
    agree(simulate(setting), simulate(replace(setting, requests=6_000), "events"), loosely=2.0)


NEITHER = {
    "bursts": {
        "workers": (Workers(4, faults=Faults(delay=Injected(Bursts(0, 1, 0.1, 0.1))), max_rows=1),)
    },
    "fail": {"workers": (Workers(4, faults=Faults(failure=Failure("drop", probability=0.1))),)},
    "equal workers": {"workers": (Workers(2, max_rows=1), Workers(2, max_rows=1))},
    "passes": {"workers": (Workers(4),)},
    "hedges": {"policy": HEDGED},
    "measured": {"policy": Policy()},
    "in flight": {"max_in_flight": 8},
    "batcher": {"limits": Limits(2, 0.001, 1_000)},
    "whole groups": {"rows": 4},
    "recorded": {"arrivals": Times((0.0, 1.0))},
    "in hand": {"spread": "least loaded"},
    "stem": {"work": {"stem": 0.1}},
}


@pytest.mark.parametrize("reason", NEITHER)
def test_what_only_events_can_do_is_done_by_events_and_says_why(reason: str) -> None:
    workers = Workers(4, Constant(0.01), max_rows=1)
    simple = replace(RECURSIVE["parity on its workers"], workers=(workers,))
    assert method_of(simple) == "recursion"
    setting = replace(simple, **NEITHER[reason])
    assert method_of(setting) == "events"
    with pytest.raises(ValueError, match=reason):
        simulate(setting, "recursion")
    with pytest.raises(ValueError, match="queues"):
        simulate(setting, "independent")
