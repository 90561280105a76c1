"""The worker's day: takes jobs in, runs the queue's batches on the device, tells how each ended.

Drives `queue.py` (what runs next), `faults.py` (what goes wrong) and `runner.py` (the device) on
the event loop. Knows no messages: those are `stream.py`'s and `service.py`'s.
"""

import asyncio
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from kofn.metrics import Histogram
from kofn.wire.errors import (
    DRAINING,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from worker.faults import Injector, Kind
from worker.faults_text import FaultsText
from worker.queue import Queue, Waiting
from worker.runner import Job, Outcome, Runner

if TYPE_CHECKING:
    from worker.tracing import TaskSpans

EXIT_CODE = 70  # of an injected exit; <sysexits.h>: internal software error
USUAL_ENDS = ("answered", "cancelled")
ENDS = (*USUAL_ENDS, "failed")
INJECTED = "injected"  # reason of errors that faults ask for

log = structlog.get_logger(__name__)


class Dispatcher:
    """All jobs of one worker, from all its streams.

    Args:
        name: the worker's; faults are drawn by it.
        queue: empty.
        runner: of this worker alone; closed by whoever made it.
        spans: made of tasks that a master traces; None makes none.

    Attributes:
        awake: cleared while an injected hang lasts. Whoever answers anything waits for it first.
        on_disconnect: called with the owner whose stream an injected fault breaks, None for all.
    """

    def __init__(
        self, name: str, queue: Queue, runner: Runner, spans: "TaskSpans | None" = None
    ) -> None:
        self.name = name
        self.busy_s = 0.0  # in service, work included that was cancelled meanwhile
        self.ended = dict.fromkeys(ENDS, 0)  # jobs, by how they ended
        self.queue_times = Histogram()  # of jobs that were answered, seconds
        self.service_times = Histogram()
        self.awake = asyncio.Event()
        self.awake.set()
        self.on_disconnect: Callable[[Hashable | None], None] = lambda owner: None
        self._queue = queue
        self._runner = runner
        self._spans = spans
        self._jobs: dict[Hashable, Job] = {}  # in hand: neither ended nor cancelled, by ticket
        self._work = asyncio.Event()  # set when the queue may hold something
        self._idle = asyncio.Event()  # set while no job is in hand
        self._idle.set()
        self._others = 0  # calls in hand that are no jobs
        self._is_draining = False
        self._timer: asyncio.TimerHandle | None = None  # of a failure at a time
        self._faults = FaultsText()
        self._injector = Injector(self._faults.laws(), name)
        self._since_s = monotonic()  # when the faults were set

    @property
    def depth(self) -> int:
        """Jobs that wait for the device."""
        return len(self._queue)

    @property
    def in_hand(self) -> int:
        """Jobs that wait or are in service."""
        return len(self._jobs)

    @property
    def is_draining(self) -> bool:
        """Whether no further job is taken."""
        return self._is_draining

    @property
    def faults(self) -> FaultsText:
        """What goes wrong at present."""
        return self._faults

    @property
    def injector(self) -> Injector:
        """Who draws it."""
        return self._injector

    def failure(self, seed: int) -> Kind | None:
        """How what has this seed fails now, if it does."""
        return self._injector.failure(seed, monotonic() - self._since_s)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Something that is no job is in hand: drains wait for it.

        Raises:
            Unavailable: the worker is draining.
        """
        if self._is_draining:
            raise _draining()
        self._others += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._others -= 1
            self._look_idle()

    def set_faults(self, faults: FaultsText) -> None:
        """Let these go wrong from now on, and nothing else: a hang ends.

        Raises:
            ValueError: a trace is named by its file.
        """
        self._injector = Injector(faults.laws(), self.name)
        self._faults, self._since_s = faults, monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.awake.set()
        failure = faults.failure
        if failure is not None and failure.at_s is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(failure.at_s, self.fail_now, failure.kind)

    def submit(self, job: Job) -> None:
        """Take a job in; its `then` is called later, once, unless it is cancelled first.

        Raises:
            Unavailable: the worker is draining.
            ResourceExhausted: the queue is full.
            InvalidArgument: a job of this ticket is in hand.
        """
        if self._is_draining:
            raise _draining()
        if job.ticket in self._jobs:
            raise InvalidArgument("A task of this id is in hand already.", "duplicate-id")
        waiting = Waiting(
            job.ticket, job.owner, job.program.hash, job.rows, job.arrived_s, job.due_s
        )
        if not self._queue.add(waiting):
            raise ResourceExhausted(f"{len(self._queue)} tasks are waiting already.", "queue-full")
        self._jobs[job.ticket] = job
        self._idle.clear()
        self._work.set()

    def cancel(self, tickets: Iterable[Hashable]) -> None:
        """Forget jobs, waiting or in service; those not in hand are passed over."""
        for ticket in tickets:
            job = self._jobs.get(ticket)
            if job is not None and self._forget(job):
                job.is_cancelled = True
                self._count(job, "cancelled")
                if self._queue.cancel([ticket]):
                    job.released()  # of one in service the device is not rid yet
        self._runner.stir()

    def drop(self, owner: Hashable) -> None:
        """Forget all jobs of a stream."""
        self.cancel([job.ticket for job in self._jobs.values() if job.owner == owner])

    def drain(self) -> None:
        """Take no further job."""
        self._is_draining = True

    async def wait_idle(self) -> None:
        """Return when no job is in hand."""
        await self._idle.wait()

    async def run(self) -> NoReturn:
        """Serve until cancelled."""
        try:
            while True:
                await self._work.wait()
                await self.awake.wait()
                taken = self._queue.take(monotonic())
                for waiting in taken.expired:
                    self._settle(self._jobs[waiting.ticket], _expired())
                if taken.batch:
                    jobs = [self._jobs[waiting.ticket] for waiting in taken.batch]
                    await self._serve(jobs)
                    for job in jobs:
                        if job.is_cancelled:
                            job.released()
                elif not self._queue:
                    self._work.clear()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _serve(self, jobs: list[Job]) -> None:
        taken_s = monotonic()
        met = [(job, kind) for job in jobs if (kind := self.failure(job.seed))]
        failing = {id(job): kind for job, kind in met}
        for job, kind in met:
            self._meet(job, kind)
        await self.awake.wait()
        # A broken stream takes all its jobs with it, so look again.
        running = [job for job in jobs if not job.is_cancelled and failing.get(id(job)) != "refuse"]
        if not running:
            return
        outcomes = await self._runner.run(running, self._injector)
        self.busy_s += monotonic() - taken_s
        await self.awake.wait()  # a hang may have begun meanwhile
        for job, outcome in zip(running, outcomes, strict=True):
            if failing.get(id(job)) == "drop":
                if self._forget(job):
                    self._count(job, "dropped, as told")
                    job.released()
            elif job.due_s <= monotonic():
                self._settle(job, _expired())
            else:
                self._settle(job, replace(outcome, queue_s=taken_s - job.arrived_s))

    def _meet(self, job: Job, kind: Kind) -> None:
        """A job meets its failure as it is taken into service."""
        log.debug("injected-failure", kind=kind, worker=self.name, **job.about())
        match kind:
            case "refuse":
                refused = Unavailable("This worker refuses the task, as told.", INJECTED)
                self._settle(job, Outcome(error=refused))
            case "disconnect":
                self.on_disconnect(job.owner)
            case "exit" | "hang":
                self.fail_now(kind, job.about())
            case "drop":
                pass  # found out when it ends

    def fail_now(self, kind: Kind, about: Mapping[str, Any] | None = None) -> None:
        """The worker itself fails, not a task alone."""
        log.warning("injected-failure", kind=kind, worker=self.name, **(about or {}))
        match kind:
            case "exit":
                os._exit(EXIT_CODE)  # nothing is flushed, closed or said: that is the point
            case "hang":
                self.awake.clear()
            case "disconnect":
                self.on_disconnect(None)
            case "refuse" | "drop":
                pass  # concern each task from now on

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """Tell how a job ended, if it is in hand still."""
        if self._forget(job):
            job.then(outcome)
            if outcome.error is not None:
                reason = outcome.error.reason
                log.debug("task-failed", worker=self.name, reason=reason, **job.about())
            self._count(job, outcome.error.reason if outcome.error else "answered", outcome)

    def _count(self, job: Job, how: str, outcome: Outcome | None = None) -> None:
        """Count the end of a job, and trace it where its master does."""
        self.ended[how if how in USUAL_ENDS else "failed"] += 1
        if how == "answered" and outcome is not None:
            self.queue_times.add(outcome.queue_s)
            self.service_times.add(outcome.service_s)
        if self._spans is not None and job.traceparent:
            self._spans.ended(job, how, outcome)

    def _forget(self, job: Job) -> bool:
        """Let go of a job; False when it was not in hand, its ticket perhaps in use again."""
        if self._jobs.get(job.ticket) is not job:
            return False
        del self._jobs[job.ticket]
        self._look_idle()
        return True

    def _look_idle(self) -> None:
        if not self._jobs and not self._others:
            self._idle.set()


def _draining() -> Unavailable:
    return Unavailable("The worker is draining.", DRAINING)


def _expired() -> Outcome:
    return Outcome(error=DeadlineExceeded("The task's deadline has passed."))
