"""The master and its workers in virtual time: what `master/deployment.py` and the pool do.

Requests go through the master's batcher into batches, whose slots the master's assignment gives to
workers. Counts what it costs while counted requests arrive.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

import numpy as np

from master.adaptive import Adaptive
from master.assignment import Assignment
from master.batcher import Batcher, QueueFull
from master.gains import Gains
from master.latency import Latency
from master.policy import usual
from simulator import draws
from simulator.batch import Batch
from simulator.contention import Moving
from simulator.engine import Engine
from simulator.outcome import Outcome
from simulator.requests import Request
from simulator.setting import Poisson, Setting, Times
from simulator.worker import Laws, Worker

WARM_UP_SHARE = 0.1  # of the counted requests: so many come before them
TOLD_EVERY = 2000  # requests between two words of progress

Progress = Callable[[int, int], None]  # requests done, of how many


class Cluster:
    """One run.

    Args:
        setting: of the run.
        progress: told now and then.
    """

    def __init__(self, setting: Setting, progress: Progress | None = None) -> None:
        self.setting = setting
        self.slots = setting.sent  # of a group, sent at once
        self.is_endless = setting.worker_count is None  # a worker for each task
        self.engine = Engine()
        self.policy = usual(setting.policy, setting.code)
        self.latency = Latency()  # round trips of slots that replied
        self.gains = Gains(setting.code)
        self.adaptive = Adaptive(self.policy.budget, self.gains.redundancy)
        self.factors = setting.factors
        self.requests: dict[int, Request] = {}  # not done yet
        self.outcome = Outcome("events", setting.worker_count)
        self._progress = progress
        seeds = np.random.SeedSequence(setting.seed).spawn(5 + len(setting.workers))
        first, second, third, *kinds, last, moves = map(np.random.default_rng, seeds)
        self.overhead = draws.of_law(setting.overhead, first)
        self._service = draws.of_law(setting.workers[0].service, last)
        self._stem_free_at = 0.0  # when the stem has done all batches that began
        self._gaps = _gaps(setting.arrivals, second)
        self._random = random.Random(int(third.integers(2**62)))
        self._wanted: dict[int, frozenset[int]] = {}
        self._batcher = Batcher(setting.code.q, setting.limits)
        self._pump_at = inf  # what the engine knows of
        self._in_flight: dict[Batch, None] = {}  # a set whose order is that of its members' start
        self._most_in_flight = inf if setting.max_in_flight is None else setting.max_in_flight
        self._expiring: deque[Request] = deque()  # by deadline, done ones too
        self._uncounted = int(setting.requests * WARM_UP_SHARE)
        self._total = self._uncounted + setting.requests
        self._arrived = 0
        self._open = 0  # counted requests that are not done
        self._answers = setting.rows * (setting.code.k // setting.code.q)  # of one request
        # Workers.
        self._assignment = Assignment()
        self._workers: dict[str, Worker] = {}
        self._up: list[str] = []  # for a random choice
        self._fresh: list[Worker] = []  # idle ones where there are as many as there is work
        self._laws = [Laws(kind, rng) for kind, rng in zip(setting.workers, kinds, strict=True)]
        self._is_counting = False
        self._busy_before_s = self._count_from = 0.0
        for laws in self._laws:
            for _ in range(laws.kind.count or 0):
                worker = self._make(laws)
                self._workers[worker.name] = worker
                self._changed(worker, is_up=True)
        if setting.contention is not None:
            Moving(setting.contention, [*self._workers.values()], self.engine, moves)

    def run(self) -> Outcome:
        """To the end of the last counted request."""
        self.engine.at(next(self._gaps), self._arrive)
        self.engine.run()
        self.outcome.requests = self.setting.requests
        self.outcome.queries = self.setting.requests * self.setting.rows
        self.outcome.events = self.engine.events
        return self.outcome

    # Requests.

    def _arrive(self, _: Any) -> None:
        now, setting = self.engine.now, self.setting
        self._arrived += 1
        number = self._arrived
        is_counted = number > self._uncounted
        if number == self._uncounted + 1:
            self._is_counting = True
            self._count_from, self._busy_before_s = now, self._busy_s()
        if number < self._total:
            self.engine.at(now + next(self._gaps), self._arrive)
        request = Request(
            number,
            now,
            now + setting.timeout_s,
            self._answers,
            self.outcome if is_counted else None,
            self._done,
        )
        self._open += is_counted
        try:
            self._batcher.add(number, setting.rows, now, request.deadline)
        except QueueFull:
            if is_counted:
                self.outcome.refused += 1
                self.outcome.missing += self._answers
                self._open -= 1
        else:
            self.requests[number] = request
            self._expiring.append(request)
            if len(self._expiring) == 1:
                self.engine.at(request.deadline, self._expire)
            self._pump(None)
        if number == self._total:
            self._stop_counting()
        elif self._progress is not None and number % TOLD_EVERY == 0:
            self._progress(number, self._total)

    def _stop_counting(self) -> None:
        self._is_counting = False
        self.outcome.busy_s = self._busy_s() - self._busy_before_s
        self.outcome.span_s = self.engine.now - self._count_from
        self._check_over()

    def _expire(self, _: Any) -> None:
        expiring = self._expiring
        while expiring and (expiring[0].is_done or expiring[0].deadline <= self.engine.now):
            expiring.popleft().expire(self.engine.now)
        if expiring:
            self.engine.at(expiring[0].deadline, self._expire)

    def _done(self, request: Request) -> None:
        del self.requests[request.number]
        if self.engine.now >= request.deadline:
            self._batcher.drop(request.number)
            for batch in [b for b in self._in_flight if not b.is_wanted]:
                batch.abandon()
        if request.outcome is not None:
            self._open -= 1
            self._check_over()

    def _check_over(self) -> None:
        if not self._open and self._arrived == self._total:
            self.engine.is_over = True

    def _pump(self, due: float | None) -> None:
        """Start what is due, then set the clock for what is not."""
        if due is not None:
            if due != self._pump_at:
                return
            self._pump_at = inf
        while len(self._in_flight) < self._most_in_flight:
            plan = self._batcher.take(self.engine.now)
            if plan is None:
                break
            batch = Batch(plan, self)
            self._in_flight[batch] = None
            batch.start()
        if len(self._in_flight) < self._most_in_flight:
            next_due = self._batcher.next_due()
            if next_due is not None and next_due < self._pump_at:
                self._pump_at = next_due
                self.engine.at(next_due, self._pump, next_due)

    def after_stem(self) -> float:
        """When a batch that starts now has been through the stem."""
        takes_s = self.setting.stem * self._service()
        self._stem_free_at = max(self.engine.now, self._stem_free_at) + takes_s
        if self._is_counting:
            self.outcome.master_s += takes_s
        return self._stem_free_at

    def landed(self, batch: Batch) -> None:
        """Nothing more will come of this batch."""
        self._in_flight.pop(batch, None)
        if self._batcher.queued_rows:
            self._pump(None)

    def wanted(self, queries: int) -> frozenset[int]:
        """The answers to the first queries of a group; the rest is padding."""
        known = self._wanted.get(queries)
        if known is None:
            q, k = self.setting.code.q, self.setting.code.k
            known = frozenset(m * q + b for m in range(k // q) for b in range(queries))
            self._wanted[queries] = known
        return known

    # Workers.

    def choose(self, n: int) -> Sequence[Worker | None]:
        """A worker for each of n slots; None where there are too few. Nothing: ask `another`."""
        if self.is_endless:
            return ()
        if self.setting.spread == "random":
            names: list[str | None] = [*self._random.sample(self._up, min(n, len(self._up)))]
            names += [None] * (n - len(names))
        else:
            names = [*self._assignment.assign(n)]
        return [None if name is None else self._workers[name] for name in names]

    @property
    def queue(self) -> float:
        """Tasks that a worker has to do, on average."""
        return 0.0 if self.is_endless else self._assignment.queue

    def another(self, *avoided: set[str]) -> Worker | None:
        """A worker for a resend or a hedge."""
        if self.is_endless:
            return self._take_fresh()
        name = self._assignment.another(*avoided)
        return None if name is None else self._workers[name]

    def sent(self, worker: Worker, groups: int, is_again: bool) -> None:
        """A task leaves for it."""
        if self._is_counting:
            self.outcome.sent += groups
            self.outcome.resent += groups * is_again
        if not self.is_endless:
            self._assignment.sent(worker.name)

    def done(self, worker: Worker) -> None:
        """A task that was sent to it has ended."""
        if not self.is_endless:
            self._assignment.done(worker.name)

    def observe(self, worker: Worker, was_late: bool) -> None:
        """A task of its was late or was not."""
        if not self.is_endless:
            self._assignment.observe(worker.name, was_late)

    def _make(self, laws: Laws) -> Worker:
        name = f"worker-{len(self._workers)}"
        return Worker(name, laws, self.engine, self._served, self._changed, self._idle)

    def _take_fresh(self) -> Worker:
        if self._fresh:
            return self._fresh.pop()
        worker = self._make(self._laws[0])
        self._workers[worker.name] = worker
        return worker

    def _changed(self, worker: Worker, is_up: bool) -> None:
        if is_up:
            self._assignment.join(worker.name)
            self._up.append(worker.name)
        else:
            self._assignment.leave(worker.name)
            self._up.remove(worker.name)

    def _idle(self, worker: Worker) -> None:
        if self.is_endless:
            self._fresh.append(worker)

    def _served(self, groups: int) -> None:
        if self._is_counting:
            self.outcome.served += groups

    def _busy_s(self) -> float:
        return sum(worker.busy_s for worker in self._workers.values())


def _gaps(arrivals: Poisson | Times, rng: np.random.Generator) -> Iterator[float]:
    """Seconds between requests, without end."""
    if isinstance(arrivals, Poisson):
        while True:
            yield from rng.exponential(1 / arrivals.rate, draws.BLOCK).tolist()
    gaps = np.diff(np.asarray(arrivals.at_s), prepend=0.0).tolist()
    yield from gaps
    while True:
        yield arrivals.span_s - arrivals.at_s[-1] + arrivals.at_s[0]
        yield from gaps[1:]
