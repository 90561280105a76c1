"""The driver of one coded batch: encode, send, hear, decode. All deciding is `gather`'s.

It stands between the batcher's plan and the requests' answers, holds the tensors that `gather`
does not see, and obeys its commands. Everything runs in callbacks on the event loop, no task a
batch: at thousands of batches a second the tasks would cost more than the codes.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

import numpy as np
import structlog
import torch

from codes.base import Code
from codes.locating import LocatesErrors, TooManyErrors
from kofn.wire import worker_pb2
from kofn.wire.source import Source
from kofn.wire.tensors import fill, from_wire
from master.batcher import Plan
from master.encoding import Encoder, Shard
from master.events import (
    Answer,
    Cancel,
    Command,
    Event,
    Fail,
    Judge,
    Judged,
    Lost,
    Replied,
    Send,
    Tick,
)
from master.gains import Gains
from master.gather import Gather
from master.link import Outcome
from master.policy import Policy
from master.pool import Pool
from master.query import Request, Timings
from master.statistics import Statistics

# Encoding more than this many bytes leaves the event loop: about a millisecond of work.
OFF_LOOP_BYTES = 4 << 20
LATE_FACTOR = 2.0  # times the median: a slot that takes longer was late
REPLY_MARGIN_S = 0.005  # what an answer needs from here to the client, at least
REPLY_MARGIN_SHARE = 0.05  # ... and as a share of the time that the client allowed

# One thread, which runs torch on that thread alone: more would fight the workers for cores.
_encoders = ThreadPoolExecutor(1, "encode", initializer=torch.set_num_threads, initargs=(1,))

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Coding:
    """What every batch of a deployment has in common."""

    name: str
    code: Code
    encoder: Encoder
    programs: Mapping[str, str]  # role -> content hash
    answer_shape: tuple[int, ...]
    statistics: Statistics
    gains: Gains  # of the code, shared by all batches: its cache is per set of responders


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
        self.number = number
        self.plan = plan
        self._coding = coding
        self._pool = pool
        self._policy = policy
        self._parts = [(requests[s.request], s.start, s.stop) for s in plan.segments]
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._gather: Gather
        self._shards: Sequence[Shard] = ()
        self._messages: list[worker_pb2.ToWorker | None] = [None] * coding.code.n
        # Sends whose end is open, by slot: (worker address, task id on its link, sent at).
        self._sends: dict[int, list[tuple[str, int, float]]] = {}
        self._results: dict[int, np.ndarray] = {}  # float32, as wide as the slot, read-only
        self._workers: dict[int, str] = {}  # whose result that is, by slot
        self._liars: set[str] = set()  # workers whose result was found to be wrong
        self._timer: asyncio.TimerHandle | None = None
        self._started = monotonic()
        self._sent_at = 0.0
        self._late_after_s = math.inf
        self._finished = False
        self._timings = Timings(queue_s=self._started - plan.oldest_arrival)

    def start(self) -> None:
        """Encode and send; returns at once, the rest happens in callbacks."""
        rows = self._stacked_rows()
        if self._coding.encoder.is_slow or rows.nbytes > OFF_LOOP_BYTES:
            encoding = self._loop.run_in_executor(_encoders, self._encode, rows)
            encoding.add_done_callback(self._encoded_off_loop)
        else:
            self._guarded(lambda: self._scatter(self._encode(rows)))

    def abandon(self) -> None:
        """Nobody waits any more: tell the workers to drop it."""
        for slot in list(self._sends):
            self._cancel(slot)
        self._finish()

    @property
    def is_wanted(self) -> bool:
        """Whether any of its requests still waits."""
        return any(not request.is_done for request, _, _ in self._parts)

    def serves(self, request: Request) -> bool:
        """Whether rows of this request travel in this batch."""
        return any(request is other for other, _, _ in self._parts)

    def report(self) -> str:
        """How far it has come, for a client that waits no longer."""
        replied = len(self._results)
        return f"{replied} of {self._coding.code.n} slots replied"

    # Out.

    def _stacked_rows(self) -> np.ndarray:
        pieces = [request.rows[start:stop] for request, start, stop in self._parts]
        if self.plan.padding:  # repeats a real row: a shape of zeros could be out of range
            pieces.append(np.repeat(pieces[-1][-1:], self.plan.padding, axis=0))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

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
        self._shards = shards
        code, plan = self._coding.code, self.plan
        allowed = plan.earliest_deadline - plan.oldest_arrival
        margin = max(REPLY_MARGIN_S, REPLY_MARGIN_SHARE * allowed)
        self._gather = Gather(
            code=self._coding.gains,
            policy=self._policy,
            wanted=frozenset(range(min(code.k, plan.rows))),  # the rest is padding
            started=now,
            moments=self._policy.moments(self._coding.statistics.slot_latency, now),
            impatient_at=plan.earliest_deadline - margin,
            deadline=plan.latest_deadline,
        )
        median_s = self._coding.statistics.slot_latency.quantile(0.5)
        self._late_after_s = math.inf if median_s is None else LATE_FACTOR * median_s
        self._first_choice = self._pool.assignment.assign(code.sent)
        self._obey(self._gather.start(now))

    def _send(self, slot: int, attempt: int) -> None:
        is_first = attempt == 0 and slot < len(self._first_choice)  # spares are sent later
        address = self._first_choice[slot] if is_first else self._another(slot)
        link = self._pool.links.get(address) if address is not None else None
        message = self._message(slot)
        task = message.task
        task.seed = (self.number << 16) | (slot << 8) | attempt
        sent_at = monotonic()
        left_s = self.plan.latest_deadline - sent_at
        task.deadline_ms = max(1, int(1e3 * left_s))

        def then(outcome: Outcome) -> None:
            self._heard(slot, address or "", outcome, sent_at)

        task_id = link.send(message, then) if link is not None else None
        if address is None or task_id is None:
            # Told later, not from within gather's own command list.
            self._loop.call_soon(self._on, Lost(slot))
            return
        self._coding.statistics.tasks_sent += 1
        self._coding.statistics.tasks_resent += not is_first
        self._pool.assignment.sent(address)
        self._sends.setdefault(slot, []).append((address, task_id, sent_at))

    def _another(self, slot: int) -> str | None:
        taken = {address for sends in self._sends.values() for address, _, _ in sends}
        late = {address for address, _, _ in self._sends.get(slot, ())}  # not these, if at all
        return self._pool.assignment.another(taken | self._liars, late | self._liars)

    def _message(self, slot: int) -> worker_pb2.ToWorker:
        """A fresh message: a link writes it later, so that two sends must not share one."""
        first = self._messages[slot]
        if first is None:
            first = self._messages[slot] = worker_pb2.ToWorker()
            first.task.program = self._coding.programs[self._coding.code.roles[slot]]
            for tensor in self._shards[slot]:
                fill(first.task.inputs.add(), tensor.numpy())
            return first
        again = worker_pb2.ToWorker()
        again.CopyFrom(first)
        return again

    # Back.

    def _heard(self, slot: int, address: str, outcome: Outcome, sent_at: float) -> None:
        self._pool.assignment.done(address)
        if self._finished:
            return
        open_sends = self._sends.get(slot, [])
        self._sends[slot] = [s for s in open_sends if (s[0], s[2]) != (address, sent_at)]
        result = self._checked(slot, outcome)
        if result is None:
            self._on(Lost(slot))
            return
        took_s = monotonic() - sent_at
        self._coding.statistics.slot_latency.add(took_s)
        self._pool.assignment.observe(address, took_s > self._late_after_s)
        if slot not in self._results:
            self._results[slot], self._workers[slot] = result, address
        self._on(Replied(slot))

    def _checked(self, slot: int, outcome: Outcome) -> np.ndarray | None:
        """A result as the decoder takes it; None when there is none or it is unusable."""
        if outcome is None or outcome.code != 0:
            return None
        try:
            array = from_wire(outcome.outputs[0])
        except (IndexError, ValueError) as error:
            log.warning("malformed-result", deployment=self._coding.name, reason=str(error))
            return None
        width = self._coding.code.widths[slot]
        rows = (width,) if width else ()
        expected = (self.plan.groups, *rows, *self._coding.answer_shape)
        if array.shape != expected or not np.isfinite(array).all():
            log.warning("unusable-result", deployment=self._coding.name, shape=array.shape)
            return None
        return array.astype(np.float32, copy=False)

    def _on(self, event: Event) -> None:
        if not self._finished:
            self._guarded(lambda: self._obey(self._gather.on(event, monotonic())))

    def _obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Judge(slots, most):
                    verdict = self._judged(slots, most)
                    self._obey(self._gather.on(verdict, monotonic()))
                    return  # it was the last one
                case Send(slot, attempt):
                    self._send(slot, attempt)
                case Cancel(slots):
                    for slot in slots:
                        self._cancel(slot)
                case Answer(answers, slots, direct):
                    self._answer(answers, slots, direct)
                case Fail(answers, reason=reason):
                    self._fail(answers, reason)
        if self._gather.is_done:
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

    def _cancel(self, slot: int) -> None:
        now = monotonic()
        for address, task_id, sent_at in self._sends.pop(slot, ()):
            if now - sent_at > self._late_after_s:  # else it may have been about to answer
                self._pool.assignment.observe(address, was_late=True)
            self._pool.links[address].cancel(task_id)
            self._pool.assignment.done(address)

    def _judged(self, slots: tuple[int, ...], most: int) -> Judged:
        """Find the wrong results, forget them, and let the pool know whom to trust."""
        began = monotonic()
        code = self._coding.code
        assert isinstance(code, LocatesErrors)  # a deployment with liars has such a code
        lied: tuple[int, ...] | None = None
        try:
            lied = code.locate(self._tensors(slots), slots, most)
        except TooManyErrors as error:
            log.warning("too-many-errors", deployment=self._coding.name, reason=str(error))
        for slot in slots if lied is not None else ():
            address, has_lied = self._workers[slot], slot in (lied or ())
            self._pool.heard(address, lied=has_lied, needed=code.sent)
            if has_lied:
                del self._results[slot]
                self._liars.add(address)
        self._timings.decode_s += monotonic() - began
        return Judged(slots, lied)

    def _tensors(self, slots: Sequence[int]) -> list[torch.Tensor]:
        # Copies: torch wants memory that it may write to.
        return [torch.from_numpy(self._results[slot].copy()) for slot in slots]

    def _answer(self, answers: Sequence[int], slots: Sequence[int], direct: bool) -> None:
        began = monotonic()
        self._timings.wait_s = began - self._sent_at
        code = self._coding.code
        if direct:
            values = dict.fromkeys(answers, self._results[slots[0]])
            errors = dict.fromkeys(answers, 0.0)
        else:
            decoded = code.decode(self._tensors(slots), slots, answers).numpy()
            values = {j: decoded[:, i] for i, j in enumerate(answers)}
            told = code.expected_error(slots)
            errors = {j: float("nan") if told is None else float(told[j]) for j in answers}
        self._timings.decode_s += monotonic() - began
        source = Source.DIRECT if direct else Source.DECODED
        for j in answers:
            self._deliver(j, values[j], source, errors[j])

    def _deliver(self, j: int, values: np.ndarray, source: Source, error: float) -> None:
        """Put answer j of every group where its request waits for it."""
        for request, rows, groups in self._places(j):
            if not request.is_done:
                request.outputs[rows] = values[groups]
                request.source[rows] = source
                request.expected_error[rows] = error
                self._settle(request, rows)

    def _fail(self, answers: Sequence[int], reason: str) -> None:
        for j in answers:
            for request, rows, _ in self._places(j):
                if not request.is_done:
                    request.failure = reason
                    request.out_of_time |= monotonic() >= self.plan.latest_deadline
                    self._settle(request, rows)

    def _places(self, j: int) -> list[tuple[Request, slice, slice]]:
        """For answer j: each request's rows that it holds, and the groups they are in."""
        q = self._coding.code.q
        places, position = [], 0
        for request, start, stop in self._parts:
            first = position + (j - position) % q  # first place of this part that is answer j
            end = position + stop - start
            if first < end:
                rows = slice(start + first - position, stop, q)
                places.append((request, rows, slice(first // q, (end - 1 - j) // q + 1)))
            position = end
        return places

    def _settle(self, request: Request, rows: slice) -> None:
        request.timings.take_longest(self._timings)
        request.responders[self.number] = tuple(self._gather.responders)
        request.settle(len(range(rows.start, rows.stop, rows.step)))

    # The end.

    def _guarded(self, work: Callable[[], None]) -> None:
        """A defect here costs one batch, loudly, and never the loop that serves the others."""
        try:
            work()
        except Exception as error:
            log.exception("batch-failed", deployment=self._coding.name, batch=self.number)
            for request, _, _ in self._parts:
                if not request.is_done:
                    request.future.set_exception(error)
            self.abandon()

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
        self._done(self)
