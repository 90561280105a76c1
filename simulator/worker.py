"""A worker in virtual time: the worker's own queue, its passes, and what it is told to do wrong.

As in `worker/dispatch.py` and `worker/runner.py`: a pass takes the oldest task and those that may
ride with it, spends the longest of their delays and then, if anybody still wants one of them, the
longest of their services.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from simulator import draws
from simulator.engine import Engine
from simulator.setting import Workers
from worker.faults import Kind
from worker.queue import Queue, Waiting

FREEZE_S = 1.5  # until a master gives up a worker that hangs, and all that it was sent
RECONNECT_S = 0.1  # a broken stream is opened again after so long
MAX_TASKS = 4096  # that wait; a worker's max_queue_tasks


@dataclass(eq=False, slots=True)
class Task:
    """One send of a slot, at a worker."""

    slot: int
    lane: str  # its program: tasks of one may share a pass
    rows: int  # coding groups
    due_s: float  # from then on its result is of no use
    sent_at: float
    then: Callable[["Task", bool], None]  # told how it ended, with a result or not
    released: Callable[["Task"], None]  # told in its place, once nothing of a cancelled one runs
    worker: "Worker"
    factor: float = 1.0  # of its service
    is_cancelled: bool = False
    is_dropped: bool = False  # its result will not be sent
    is_told: bool = False  # how it ended
    delay_s: float = 0.0
    is_interruptible: bool = False  # its delay: a cancellation ends it
    service_s: float = 0.0


class Laws:
    """The draws that workers of one kind share."""

    def __init__(self, kind: Workers, rng: np.random.Generator) -> None:
        failure = kind.faults.failure
        self.kind = kind
        self.service = draws.of_law(kind.service, rng)
        self.delays = draws.of_delays(kind.faults.delay, rng)  # for each worker
        self.fails = (
            draws.of_chance(failure.probability, rng) if failure and failure.probability else None
        )
        self.rng = rng
        self.is_interruptible = bool(kind.faults.delay and kind.faults.delay.interruptible)


class Worker:
    """One worker.

    Args:
        name: as the master knows it.
        laws: of its kind.
        engine: the clock.
        on_pass: told of a pass's coding groups as it begins.
        on_change: told when the master notices that it has gone or is back.
        on_idle: told when it has nothing left to do.
    """

    def __init__(
        self,
        name: str,
        laws: Laws,
        engine: Engine,
        on_pass: Callable[[int], None],
        on_change: Callable[["Worker", bool], None],
        on_idle: Callable[["Worker"], None],
    ) -> None:
        self.name = name
        self._laws, self._kind = laws, laws.kind
        self._engine = engine
        self._on_pass, self._on_change, self._on_idle = on_pass, on_change, on_idle
        self._own_delay = self._delay = laws.delays()
        self._is_interruptible = laws.is_interruptible
        self._queue = Queue(laws.kind.max_rows, MAX_TASKS)
        self._running: list[Task] = []  # of the present pass, cancelled ones too
        self._is_busy = False  # in a pass, or telling of one
        self._is_down = False
        self._limbo: list[Task] = []  # sent to it while it hangs, or lost with it
        self._started = self._delay_end = 0.0  # of the present pass
        self._pass = 0  # number of what is expected to end; another one has been given up
        self._done_s = 0.0  # in service, of passes that have ended
        self._failing: Kind | None = None  # what every task meets from now on
        failure = laws.kind.faults.failure
        if failure is not None and failure.at_s is not None:
            engine.at(failure.at_s, self._fail_now, failure.kind)
        self._await_crash()

    @property
    def busy_s(self) -> float:
        """In service so far."""
        return self._done_s + (self._engine.now - self._started if self._running else 0.0)

    def trouble(self, delay: draws.Draw, *, is_interruptible: bool) -> None:
        """From its next pass on its tasks have these delays."""
        self._delay, self._is_interruptible = delay, is_interruptible

    def recover(self) -> None:
        """From its next pass on its tasks have the delays of its kind."""
        self._delay, self._is_interruptible = self._own_delay, self._laws.is_interruptible

    def submit(self, task: Task) -> None:
        """Take a task; later its `then` is called, or its `released` if it is cancelled first."""
        if self._is_down:
            self._limbo.append(task)
        elif self._is_busy:
            now = self._engine.now
            waiting = Waiting(task, None, task.lane, task.rows, now, task.due_s)
            if not self._queue.add(waiting):
                self._engine.at(now, _tell_lost, task)
        else:
            self._begin([task])

    def cancel(self, task: Task) -> None:
        """Nobody wants a task any more; what can end early does."""
        task.is_cancelled = True
        if task in self._running:
            if self._engine.now < self._delay_end:
                self._expect_end()
        elif task not in self._limbo:
            self._queue.cancel((task,))
            _tell(task, False)

    # A pass.

    def _begin(self, tasks: list[Task]) -> None:
        self._is_busy = True
        if self._failing is not None or self._laws.fails is not None:
            tasks = self._meet(tasks)
        if not tasks:
            self._next()
            return
        rows = 0
        for task in tasks:
            task.delay_s, task.service_s = self._delay(), task.factor * self._laws.service()
            task.is_interruptible = self._is_interruptible
            rows += task.rows
        self._on_pass(rows)
        self._running, self._started = tasks, self._engine.now
        self._expect_end()

    def _expect_end(self) -> None:
        """When the present pass ends, as far as is known now."""
        delay_s, service_s = 0.0, 0.0
        for task in self._running:
            if not (task.is_cancelled and task.is_interruptible):
                delay_s = max(delay_s, task.delay_s)
            if not task.is_cancelled:
                service_s = max(service_s, task.service_s)
        self._delay_end = max(self._engine.now, self._started + delay_s)
        self._pass += 1
        self._engine.at(self._delay_end + service_s, self._end, self._pass)

    def _end(self, number: int) -> None:
        if number != self._pass:
            return
        now = self._engine.now
        tasks, self._running = self._running, []
        self._done_s += now - self._started
        for task in tasks:
            if task.is_cancelled or not task.is_dropped:
                _tell(task, task.due_s > now)
        self._next()

    def _next(self) -> None:
        if self._is_down:
            return
        while self._queue:
            taken = self._queue.take(self._engine.now)
            for waiting in taken.expired:
                _tell_lost(waiting.ticket)
            if taken.batch:
                self._begin([waiting.ticket for waiting in taken.batch])  # type: ignore[misc]
                return
        self._is_busy = False
        self._on_idle(self)

    # What goes wrong.

    def _meet(self, tasks: list[Task]) -> list[Task]:
        """The tasks that are run, after some have met a failure; none when the worker has."""
        failure = self._kind.faults.failure
        assert failure is not None  # who has none is not asked
        left: list[Task] = []
        fails = self._laws.fails
        for place, task in enumerate(tasks):
            kind = self._failing or (failure.kind if fails is not None and fails() else None)
            match kind:
                case None:
                    left.append(task)
                case "drop":
                    task.is_dropped = True
                    left.append(task)
                case "refuse":
                    self._engine.at(self._engine.now, _tell_lost, task)
                case _:
                    self._limbo += [*left, *tasks[place:]]
                    self._fail_now(kind)
                    return []
        return left

    def _fail_now(self, kind: Kind) -> None:
        if self._is_down:
            return
        match kind:
            case "refuse" | "drop":
                self._failing = kind
            case "exit":
                self._go_down(0.0, self._kind.restart_s)
            case "hang":
                self._go_down(FREEZE_S, self._kind.restart_s)
            case "disconnect":
                self._go_down(0.0, RECONNECT_S)

    def _go_down(self, notice_s: float, back_s: float) -> None:
        """All that it has is lost, which the master notices after a while."""
        now = self._engine.now
        if self._running:
            self._done_s += now - self._started
        self._limbo += [*self._running, *self._drained()]
        self._running = []
        self._pass += 1
        self._is_down, self._is_busy = True, False
        self._engine.at(now + notice_s, self._lose)
        if back_s < inf:
            self._engine.at(now + max(notice_s, back_s), self._come_back)

    def _lose(self, _: Any) -> None:
        lost, self._limbo = self._limbo, []
        self._on_change(self, False)
        for task in lost:
            _tell_lost(task)

    def _come_back(self, _: Any) -> None:
        self._is_down = False
        self._on_change(self, True)
        self._await_crash()

    def _await_crash(self) -> None:
        if self._kind.mttf_s < inf:
            at_s = self._engine.now + self._laws.rng.exponential(self._kind.mttf_s)
            self._engine.at(at_s, self._fail_now, "exit")

    def _drained(self) -> list[Task]:
        waiting = self._queue.drop(None)
        return [each.ticket for each in waiting]  # type: ignore[misc]


def _tell_lost(task: Any) -> None:
    _tell(task, False)


def _tell(task: Task, has_result: bool) -> None:
    """Its end, once: hearing of another's in the same pass, a batch may cancel it."""
    if task.is_told:
        return
    task.is_told = True
    if task.is_cancelled:
        task.released(task)
    else:
        task.then(task, has_result)
