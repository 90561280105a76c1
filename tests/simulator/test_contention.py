"""Trouble that moves: how many tasks meet it, whom it spares, and what it cannot be."""

from dataclasses import replace

import pytest

import codes
from master.batcher import Limits
from master.policy import Policy
from simulator import Contention, Poisson, Setting, Workers, method_of, simulate
from worker.faults import Delay, Faults
from worker.laws import Constant

SERVICE_S, DELAY_S = 0.01, 0.1
IDLE = Setting(  # what nothing queues in
    codes.make("uncoded", k=1),
    (Workers(9, Constant(SERVICE_S), max_rows=1),),
    Poisson(1.0),
    5_000,
    Policy(wait="all", max_sends=1),
    limits=Limits(max_groups=1, max_delay_s=0.0, queue_rows=1000),
    spread="random",
)
DELAY = Delay(Constant(DELAY_S))


def moving(workers: int, every_s: float) -> Setting:
    return replace(IDLE, contention=Contention(workers, every_s, DELAY))


@pytest.mark.parametrize("every_s", [0.5, 20.0])
def test_a_share_of_the_tasks_meets_it(every_s: float) -> None:
    """Two of nine, however often they change."""
    latency = simulate(moving(2, every_s)).latency
    assert latency.mean == pytest.approx(SERVICE_S + 2 / 9 * DELAY_S, rel=0.05)
    assert latency.quantile(0.7) == pytest.approx(SERVICE_S, rel=0.02)
    assert latency.quantile(0.85) == pytest.approx(SERVICE_S + DELAY_S, rel=0.02)


def test_all_workers_in_trouble_are_workers_with_that_delay() -> None:
    (workers,) = IDLE.workers
    slow = replace(IDLE, workers=(replace(workers, faults=Faults(delay=DELAY)),))
    assert method_of(moving(9, 1.0)) == "events"
    found, wanted = simulate(moving(9, 1.0)), simulate(slow, "events")
    assert found.latency.mean == pytest.approx(wanted.latency.mean)
    assert found.busy_s == pytest.approx(wanted.busy_s)


def test_who_learned_of_it_learns_anew_when_it_has_moved() -> None:
    """A master that knows the slow ones avoids them; it cannot know who is next."""
    busy = replace(moving(3, 1.0), arrivals=Poisson(300.0), spread="least loaded")
    still = replace(busy, contention=Contention(3, 1e6, DELAY))
    assert simulate(busy).latency.mean > 1.05 * simulate(still).latency.mean


def test_a_delay_that_a_cancellation_ends_is_ended() -> None:
    """Contention spares one of two copies five times of nine; of the other 10 ms remain."""
    lasting = replace(
        moving(5, 1.0), code=codes.make("replication", k=1, n=2), policy=Policy(wait="first")
    )
    ending = replace(lasting, contention=Contention(5, 1.0, replace(DELAY, interruptible=True)))
    assert simulate(ending).busy_s < 0.75 * simulate(lasting).busy_s


@pytest.mark.parametrize(
    ("contention", "word"),
    [((0, 1.0), "workers"), ((1, 0.0), "every_s"), ((1, float("inf")), "every_s")],
)
def test_what_is_no_contention_is_refused(contention: tuple[int, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Contention(*contention, DELAY)


@pytest.mark.parametrize("count", [None, 4])
def test_more_in_trouble_than_there_are_is_refused(count: int | None) -> None:
    with pytest.raises(ValueError, match="contention"):
        replace(moving(5, 1.0), workers=(Workers(count, Constant(SERVICE_S)),))
