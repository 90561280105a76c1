"""The driver of one coded batch: encode, send, hear, decode. All deciding is `gather`'s.

It stands between the batcher's plan and the requests' answers, holds the tensors that `gather`
does not see, and obeys its commands. Everything runs in callbacks on the event loop, no task a
batch: at thousands of batches a second the tasks would cost more than the codes.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch

from kofn.wire.source import Source
from master.batcher import Plan
from master.coding import Coding
from master.encoding import Shard
from master.events import (
    Answer,
    Cancel,
    Command,
    Doubt,
    Doubted,
    Event,
    Fail,
    Judge,
    Judged,
    Lost,
    Recall,
    Replied,
    Send,
    Tick,
)
from master.gather import Gather
from master.jury import Jury
from master.link import Outcome
from master.parts import Parts
from master.policy import Policy, reply_margin_s
from master.pool import Pool
from master.query import Request, Timings
from master.results import Results
from master.sends import Label, Sends

if TYPE_CHECKING:
    from master.tracing import BatchTrace

# Encoding more than this many bytes leaves the event loop: about a millisecond of work.
OFF_LOOP_BYTES = 4 << 20
MOST_TOLD = 16  # request ids in one log line

# One thread, which runs torch on that thread alone: more would fight the workers for cores.
_encoders = ThreadPoolExecutor(1, "encode", initializer=torch.set_num_threads, initargs=(1,))

log = structlog.get_logger(__name__)


class CodedBatch:
    """g coding groups on their way through the workers.

    Args:
        number: of this batch; with slot and attempt it seeds the workers' injected faults.
        coding: code and programs.
        policy: when to decode, hedge, give up.
        pool: the workers.
        plan: which rows of which requests; `requests` by their id.
        done: called once when nothing more will come of this batch.
    """

    _ids = itertools.count(1)  # of batches, over all deployments of this process

    def __init__(
        self,
        number: int,
        coding: Coding,
        policy: Policy,
        pool: Pool,
        plan: Plan,
        requests: Mapping[int, Request],
        done: Callable[["CodedBatch"], None],
    ) -> None:
        self.plan = plan
        self._coding = coding
        self._pool = pool
        self._policy = policy
        self._parts = Parts(plan, requests, coding.code.q)
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._gather: Gather
        self._results = Results(coding, plan.groups)
        self._timer: asyncio.TimerHandle | None = None
        self._started = monotonic()
        self._sent_at = 0.0
        self._finished = False
        self._timings = Timings(queue_s=self._started - plan.oldest_arrival)
        label = Label(next(self._ids), number, plan.latest_deadline)
        self.id = label.id
        self._trace = self._begin_trace() if coding.tracer is not None else None
        self._sends = Sends(label, coding, pool, self._heard, self._trace)
        self._jury = Jury(self._results, self._sends, pool, coding.code.sent, policy.recheck)

    def start(self) -> None:
        """Encode and send; returns at once, the rest happens in callbacks."""
        rows = self._parts.stacked()
        if self._coding.encoder.is_slow or rows.nbytes > OFF_LOOP_BYTES:
            encoding = self._loop.run_in_executor(_encoders, self._encode, rows)
            encoding.add_done_callback(self._encoded_off_loop)
        else:
            self._guarded(lambda: self._scatter(self._encode(rows)))

    def abandon(self) -> None:
        """Nobody waits any more: tell the workers to drop it."""
        self._sends.cancel_all()
        self._finish()

    @property
    def is_wanted(self) -> bool:
        """Whether any of its requests still waits."""
        return any(not request.is_done for request in self._parts.requests)

    def serves(self, request: Request) -> bool:
        """Whether rows of this request travel in this batch."""
        return any(request is other for other in self._parts.requests)

    def report(self) -> str:
        """How far it has come, for a client that waits no longer."""
        replied = len(self._results)
        return f"{replied} of {self._coding.code.n} slots replied"

    # Out.

    def _encode(self, rows: np.ndarray) -> Sequence[Shard]:
        code = self._coding.code
        queries = torch.from_numpy(rows).reshape(self.plan.groups, code.q, *rows.shape[1:])
        return self._coding.encoder.shards(queries)

    def _encoded_off_loop(self, encoding: "asyncio.Future[Sequence[Shard]]") -> None:
        self._guarded(lambda: self._scatter(encoding.result()))

    def _scatter(self, shards: Sequence[Shard]) -> None:
        if self._finished:
            return
        now = self._sent_at = monotonic()
        self._timings.encode_s = now - self._started
        if self._trace is not None:
            self._trace.stage("encode", self._started)
        plan = self.plan
        allowed = plan.earliest_deadline - plan.oldest_arrival
        self._gather = Gather(
            code=self._coding.gains,
            policy=self._policy,
            wanted=self._parts.wanted(),
            started=now,
            moments=self._coding.moments(self._policy, now, self._pool.assignment.queue),
            impatient_at=plan.earliest_deadline - reply_margin_s(allowed),
            deadline=plan.latest_deadline,
        )
        self._sends.begin(shards)
        self._obey(self._gather.start(now))
        if self._policy.wait == "adaptive":
            self._sends.settle()

    # Back.

    def _heard(self, slot: int, address: str, outcome: Outcome, took_s: float) -> None:
        if self._finished:
            return
        if outcome is None or outcome.code != 0:
            self._on(Lost(slot))
            return
        try:
            self._results.take(slot, address, outcome)
        except ValueError as error:
            log.warning("unusable-result", **self._about(), slot=slot, reason=str(error))
            self._on(Lost(slot))
            return
        self._sends.answered(address, took_s)
        self._guarded(lambda: self._obey(self._gather.on(self._replied(slot), monotonic())))

    def _replied(self, slot: int) -> Replied:
        began = monotonic()
        event = self._jury.replied(slot)
        self._timings.decode_s += monotonic() - began
        return event

    def _on(self, event: Event) -> None:
        if not self._finished:
            self._guarded(lambda: self._obey(self._gather.on(event, monotonic())))

    def _obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Judge() | Doubt():
                    self._obey(self._gather.on(self._judged(command), monotonic()))
                    return  # it was the last one
                case Recall(slot):
                    self._results.recall(slot)
                case Send(slot, attempt):
                    if not self._sends.send(slot, attempt):
                        # Told later, not from within gather's own command list.
                        self._loop.call_soon(self._on, Lost(slot))
                case Cancel(slots):
                    for slot in slots:
                        self._sends.cancel(slot)
                case Answer(answers, slots, direct):
                    self._answer(answers, slots, direct)
                case Fail(answers, reason=reason):
                    self._fail(answers, reason)
        if self._gather.is_done:
            self._check()
            self._finish()
        else:
            self._set_timer(self._gather.next_due())

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            if due is not None and self._timer.when() == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._on(Tick())

    def _judged(self, question: Judge | Doubt) -> Judged | Doubted:
        began = monotonic()
        verdict: Judged | Doubted
        match question:
            case Judge(slots, most, sure):
                verdict = self._jury.judge(slots, most, sure, **self._about())
                stage, found = "locate", {"liars": _listed(verdict.lied or ())}
            case Doubt(slots, settled):
                verdict = self._jury.doubt(slots, settled)
                stage, found = "doubt", {"slot": "" if verdict.slot is None else str(verdict.slot)}
        self._timings.decode_s += monotonic() - began
        if self._trace is not None:
            self._trace.stage(stage, began, slots=_listed(slots), **found)
        return verdict

    def _answer(self, answers: Sequence[int], slots: Sequence[int], direct: bool) -> None:
        began = monotonic()
        self._timings.wait_s = began - self._sent_at
        if direct:
            had = dict.fromkeys(answers, (self._results.direct(slots[0]), 0.0))
        else:
            had = dict(self._results.decoded(answers, slots))
        self._timings.decode_s += monotonic() - began
        if self._trace is not None and not direct:
            self._trace.stage("decode", began, slots=_listed(slots), answers=len(answers))
        source = Source.DIRECT if direct else Source.DECODED
        for j in answers:
            self._deliver(j, *had[j], source)

    def _deliver(self, j: int, values: np.ndarray, error: float, source: Source) -> None:
        """Put answer j of every group where its request waits for it."""
        for request, entries, groups, count in self._parts.places(j):
            if not request.is_done:
                request.outputs[entries] = values[groups]
                request.source[entries] = source
                request.expected_error[entries] = error
                self._settle(request, count)

    def _fail(self, answers: Sequence[int], reason: str) -> None:
        if self._trace is not None:
            self._trace.failed(reason)
        for j in answers:
            for request, _, _, count in self._parts.places(j):
                if not request.is_done:
                    request.failure = reason
                    request.out_of_time |= monotonic() >= self.plan.latest_deadline
                    self._settle(request, count)

    def _settle(self, request: Request, answers: int) -> None:
        request.timings.take_longest(self._timings)
        request.responders[self.id] = tuple(self._gather.responders)
        request.settle(answers)

    # The end.

    def _guarded(self, work: Callable[[], None]) -> None:
        """A defect here costs one batch, loudly, and never the loop that serves the others."""
        try:
            work()
        except Exception as error:
            log.exception("batch-failed", **self._about())
            for request in self._parts.requests:
                if not request.is_done:
                    request.future.set_exception(error)
            self.abandon()

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
        if self._trace is not None:
            self._trace.finished()
        self._sends.finish()
        self._done(self)

    def _check(self) -> None:
        """When every slot has replied, results that nobody needs say whether all fit together."""
        checked = self._results.check()
        if checked is None:
            return
        residual, suspects = checked
        seen = self._coding.statistics.consistency
        if not seen.add(residual, bool(suspects)):
            return
        kind = "results-do-not-fit" if seen.is_alarmed else "results-fit-again"
        by = self._results.workers
        names = sorted(self._pool.name(by[slot]) for slot in suspects if slot in by)
        detail = f"residual {seen.residual:.3g}"
        if names:
            detail += f"; {names[0]} seems" if len(names) == 1 else f"; one of {', '.join(names)}"
            detail += " to lie" if len(names) == 1 else " lies, or a model has changed"
        log.warning(kind, **self._about(), detail=detail)
        self._pool.tell(kind, self._coding.name, detail)

    # For whoever watches.

    def _begin_trace(self) -> "BatchTrace | None":
        from master.tracing import BatchTrace  # loads OpenTelemetry

        trace = BatchTrace.of(self._coding, self._parts.requests)
        if trace is not None:
            trace.started(self.id, self.plan.rows, self.plan.groups, self._timings.queue_s)
        return trace

    def _about(self) -> dict[str, Any]:
        """What a log line says of this batch."""
        requests = [request.name for request in self._parts.requests]
        return {"deployment": self._coding.name, "batch": self.id, "requests": requests[:MOST_TOLD]}


def _listed(slots: Sequence[int]) -> str:
    return ",".join(map(str, slots))
