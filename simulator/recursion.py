"""Queues in order of arrival, many runs side by side: when a worker is free again follows from the
group before.

`free` [runs, workers] is when each worker has done all that it was sent and that was not cancelled
before it began. Each step is one arrival in every run.
"""

from math import ceil, sqrt

import numpy as np
import numpy.typing as npt

from simulator.answering import Array, Rule
from simulator.cluster import Progress
from simulator.draws import quantiles_s
from simulator.methods import is_central
from simulator.outcome import Outcome
from simulator.setting import Poisson, Setting
from simulator.tasks import count, draw

LEAST_RUNS, MOST_RUNS = 64, 2048  # a step costs as much for 64; beyond 2048 what its entries cost
MOST_STATE = 1 << 23  # entries of `free`
WARM_UP_SPANS = 8.0  # relaxation times of a queue before anything is counted
TOLD_EVERY = 200  # steps between two words of progress
CAUTIOUS_LOAD = 0.9  # assumed where cancellations make the load less than the sum of all tasks


def simulate(setting: Setting, progress: Progress | None) -> Outcome:
    """The counted requests, in as many runs as leave each time to settle."""
    assert isinstance(setting.arrivals, Poisson)
    rng = np.random.default_rng(setting.seed)
    workers = setting.worker_count
    assert workers is not None
    outcome = Outcome("recursion", workers)
    warm_up = _warm_up(setting, rng)
    runs = min(max(LEAST_RUNS, setting.requests // (4 * warm_up)), MOST_RUNS, setting.requests)
    runs = max(1, min(runs, MOST_STATE // workers))
    steps = ceil(setting.requests / runs)
    rule = Rule(setting)
    free, now = np.zeros((runs, workers)), np.zeros(runs)
    for step in range(-warm_up, steps):
        gaps = rng.exponential(1 / setting.arrivals.rate, runs)
        now += gaps
        _arrival(setting, rule, rng, free, now, outcome if step >= 0 else None)
        outcome.span_s += float(gaps.sum()) if step >= 0 else 0.0
        if progress is not None and step % TOLD_EVERY == 0:
            progress(max(0, step) * runs, steps * runs)
    return outcome


def _arrival(
    setting: Setting,
    rule: Rule,
    rng: np.random.Generator,
    free: Array,
    now: Array,
    outcome: Outcome | None,
) -> None:
    """One request in every run; changes `free`."""
    runs, n = len(free), setting.code.n
    rows = np.arange(runs)[:, None]
    chosen = _chosen(setting, rng, free)
    waits = np.maximum(0.0, free[rows, chosen] - now[:, None])
    tasks = draw(setting, rng, runs)
    replies = waits + tasks.lengths + quantiles_s(setting.overhead, rng.random((runs, n)))
    answers = rule.answers(replies)
    served = waits < answers.stops
    busy = tasks.busy(np.where(replies <= answers.stops, np.inf, answers.stops - waits))
    ends = now[:, None] + waits + busy
    free[rows, chosen] = np.where(served, ends, free[rows, chosen])
    if outcome is not None:
        count(outcome, setting, answers, busy, served)


def _chosen(setting: Setting, rng: np.random.Generator, free: Array) -> npt.NDArray[np.int64]:
    """Workers [runs, n] for the slots."""
    runs, workers = free.shape
    n = setting.code.n
    if is_central(setting):
        return np.asarray(free.argmin(axis=1)[:, None])
    if n == workers:
        everybody = np.tile(np.arange(n), (runs, 1))
        return rng.permuted(everybody, axis=1) if setting.spread == "random" else everybody
    chosen = rng.integers(workers, size=(runs, n))
    while True:  # again where two slots met at one worker
        ordered = np.sort(chosen, axis=1)
        (twice,) = np.nonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(twice):
            return chosen
        if 4 * n > workers:  # they would meet again and again
            whole = np.tile(np.arange(workers), (len(twice), 1))
            chosen[twice] = rng.permuted(whole, axis=1)[:, :n]
        else:
            chosen[twice] = rng.integers(workers, size=(len(twice), n))


def _warm_up(setting: Setting, rng: np.random.Generator) -> int:
    """Steps until a run has forgotten that it began empty."""
    workers, n = setting.worker_count or 1, setting.code.n
    mean_s = float(draw(setting, rng, ceil(20_000 / n)).lengths.mean())
    load = min(CAUTIOUS_LOAD, setting.arrivals.rate * n * mean_s / workers)
    # The relaxation time of an M/M/1 queue is 1 / (mu (1 - sqrt(load))^2).
    return 20 + ceil(WARM_UP_SPANS * load * workers / n / (1 - sqrt(load)) ** 2)
