"""What one coded batch has at the workers: its sends, from the choice of a worker to their end.

The driver's outgoing half; `scatter` says which slot is sent and what its result is worth.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from kofn.wire import worker_pb2
from kofn.wire.tensors import fill
from master.assignment import LATE_FACTOR
from master.coding import Coding
from master.encoding import Shard
from master.link import Outcome
from master.pool import Pool

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from master.tracing import BatchTrace

log = structlog.get_logger(__name__)

OnEnd = Callable[[int, str, Outcome, float], None]  # slot, worker's address, outcome, seconds


@dataclass(frozen=True)
class Label:
    """How a batch is told apart.

    Attributes:
        id: unique in this process; in logs, spans and tasks.
        number: of its deployment's; with slot and attempt it seeds the workers' injected faults.
        deadline: monotonic seconds, from which no result is of use.
    """

    id: int
    number: int
    deadline: float


@dataclass(eq=False, slots=True)
class _Send:
    """One send whose end is open."""

    address: str
    sent_at: float
    span: "Span | None"
    task_id: int = 0  # on its link


class Sends:
    """The sends of one batch.

    Args:
        label: of the batch.
        coding: its programs and counters.
        pool: the workers.
        on_end: told once how each send ended that was not cancelled.
        trace: of the batch, if it is traced.
    """

    def __init__(
        self,
        label: Label,
        coding: Coding,
        pool: Pool,
        on_end: OnEnd,
        trace: "BatchTrace | None",
    ) -> None:
        self._label = label
        self._coding = coding
        self._pool = pool
        self._on_end = on_end
        self._trace = trace
        self._shards: Sequence[Shard] = ()
        self._first_choice: Sequence[str | None] = ()
        self._messages: list[worker_pb2.ToWorker | None] = [None] * coding.code.n
        self._open: dict[int, list[_Send]] = {}  # by slot
        self._avoided: set[str] = set()  # addresses
        self._elsewhere: dict[int, str] = {}  # by slot, the address that shall not get it again
        self._late_after_s = math.inf
        self._lasted: list[tuple[float, bool]] = []  # seconds, and whether it replied then

    def begin(self, shards: Sequence[Shard]) -> None:
        """Take the shards, and choose a worker for each slot that is sent at once."""
        self._shards = shards
        median_s = self._coding.statistics.slot_latency.quantile(0.5)
        self._late_after_s = math.inf if median_s is None else LATE_FACTOR * median_s
        self._first_choice = self._pool.assignment.assign(self._coding.code.sent)

    def settle(self) -> None:
        """All that is sent at once has left: other slots go to whoever has the least to do then."""
        self._first_choice = ()

    def send(self, slot: int, attempt: int) -> bool:
        """Send a slot; False, and nothing will be told, when nobody takes it."""
        is_first = attempt == 0 and slot < len(self._first_choice)  # spares are sent later
        address = self._first_choice[slot] if is_first else self._another(slot)
        link = self._pool.links.get(address) if address is not None else None
        if address is None or link is None:
            return False
        label = self._label
        message = self._message(slot)
        task = message.task
        task.seed = (label.number << 16) | (slot << 8) | attempt
        task.batch = label.id
        sent_at = monotonic()
        task.deadline_ms = max(1, int(1e3 * (label.deadline - sent_at)))
        span = None
        if self._trace is not None:
            span, task.traceparent = self._trace.shard(slot, attempt, link.name)
        send = _Send(address, sent_at, span)

        def then(outcome: Outcome) -> None:
            self._ended(slot, send, outcome)

        task_id = link.send(message, then)
        if task_id is None:
            self._tell(send, "not sent")
            return False
        send.task_id = task_id
        self._coding.statistics.tasks_sent += 1
        self._coding.statistics.tasks_resent += not is_first
        self._pool.assignment.sent(address)
        self._open.setdefault(slot, []).append(send)
        return True

    def cancel(self, slot: int) -> None:
        """Let go of all sends of a slot."""
        now = monotonic()
        for send in self._open.pop(slot, ()):
            if now - send.sent_at > self._late_after_s:  # else it may have been about to answer
                self._pool.assignment.observe(send.address, was_late=True)
            self._lasted.append((now - send.sent_at, False))
            released = partial(self._pool.assignment.done, send.address)
            self._pool.links[send.address].cancel(send.task_id, released)
            self._tell(send, "cancelled")

    def cancel_all(self) -> None:
        """Let go of everything."""
        for slot in list(self._open):
            self.cancel(slot)

    def finish(self) -> None:
        """The batch is over: what its tasks took is learned from."""
        self._coding.adaptive.ended(self._lasted)

    def avoid(self, address: str) -> None:
        """Send this worker nothing more of this batch, as long as there is another."""
        self._avoided.add(address)

    def elsewhere(self, slot: int, address: str) -> None:
        """Do not send this slot to this worker again, as long as there is another."""
        self._elsewhere[slot] = address

    def answered(self, address: str, took_s: float) -> None:
        """A result was good: that worker's time counts."""
        self._coding.statistics.slot_latency.add(took_s)
        self._lasted.append((took_s, True))
        self._pool.assignment.observe(address, took_s > self._late_after_s)

    def _ended(self, slot: int, send: _Send, outcome: Outcome) -> None:
        self._pool.assignment.done(send.address)
        if (still := self._open.get(slot)) is not None and send in still:
            still.remove(send)
        if outcome is None or outcome.code != 0:
            self._pool.assignment.observe(send.address, was_late=True)  # a failure costs as much
        if outcome is None:
            self._tell(send, "lost")
        elif outcome.code == 0:
            self._tell(send, "answered")
        else:
            self._tell(send, "failed", outcome.reason)
            link = self._pool.links.get(send.address)
            log.info(
                "task-failed", deployment=self._coding.name, batch=self._label.id, slot=slot,
                worker=send.address if link is None else link.name, code=outcome.code,
                reason=outcome.reason,
            )  # fmt: skip
        self._on_end(slot, send.address, outcome, monotonic() - send.sent_at)

    def _tell(self, send: _Send, how: str, reason: str = "") -> None:
        if send.span is not None and self._trace is not None:
            self._trace.shard_ended(send.span, how, reason)

    def _another(self, slot: int) -> str | None:
        taken = {send.address for sends in self._open.values() for send in sends}
        never = {send.address for send in self._open.get(slot, ())} | self._avoided  # if at all
        if slot in self._elsewhere:
            never.add(self._elsewhere[slot])
        return self._pool.assignment.another(taken | never, never)

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
