"""One model behind one code, serving: requests in, coded batches out to the workers, answers back.

It owns the batcher's clock and the bound on batches in flight; what a batch does is `scatter`'s,
when rows become a batch is `batcher`'s.
"""

import asyncio
import itertools
from time import monotonic, time_ns
from typing import TYPE_CHECKING

import numpy as np
import structlog

from codes.ensemble import MEAN, Ensemble
from kofn.wire.errors import DRAINING, KofnError, ResourceExhausted, Unavailable
from master.adaptive import Adaptive
from master.batcher import Batcher, QueueFull
from master.binding import Binding
from master.coding import Coding, Layers
from master.config import DeploymentConfig
from master.gains import Gains
from master.layers.batch import LayeredBatch
from master.layers.shares import Shares
from master.policy import Policy, usual
from master.pool import Pool
from master.query import NOBODY, Caller, Request, Wishes
from master.scatter import CodedBatch
from master.statistics import Statistics

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

SLOW_SHARE = 0.5  # of the time that a client allows: what takes longer may soon be late
QUEUES_KEPT = 16  # those that are empty go when there are more
MOST_TOLD = 16  # batches of a request in one log line

Queue = tuple[Policy, frozenset[int]]  # how to wait, and for which models

log = structlog.get_logger(__name__)


class Deployment:
    """A served model.

    Args:
        config: as in the deployment file.
        binding: its code and programs.
        pool: the workers, which hold the programs.
        tracer: makes spans; None makes none.
    """

    _numbers = itertools.count(1)  # of requests, over all deployments of this process

    def __init__(
        self,
        config: DeploymentConfig,
        binding: Binding,
        pool: Pool,
        tracer: "Tracer | None" = None,
    ) -> None:
        self.config = config
        self.binding = binding
        self.policy = usual(config.policy.make(), binding.code)
        answers = Ensemble(binding.code) if binding.models else binding.code
        gains = Gains(answers)
        self.statistics = Statistics()
        self.program = binding.model  # content hash
        self._pool = pool
        self.shares, layers = None, None
        if binding.network is not None:
            prefix = f"{config.name}/{binding.model[:16]}/{binding.code}/"
            self.shares = Shares(prefix, binding.network, pool)
            layers = Layers(binding.network, self.shares)
        self._coding = Coding(
            name=config.name,
            code=answers,
            encoder=binding.encoder,
            programs=binding.programs,
            answer_shape=binding.answer.shape,
            statistics=self.statistics,
            gains=gains,
            adaptive=Adaptive(self.policy.budget, gains.redundancy),
            tracer=tracer,
            layers=layers,
        )
        self._kind: type[CodedBatch] | type[LayeredBatch] = CodedBatch
        if layers is not None:
            self._kind = LayeredBatch
        self._batch_numbers = itertools.count(1)
        # Rows that are to be waited for differently, or that ask other models, share no batch.
        self._batchers: dict[Queue, Batcher] = {}
        self._requests: dict[int, Request] = {}  # with rows queued or in flight
        self._in_flight: set[CodedBatch | LayeredBatch] = set()
        self._timer: asyncio.TimerHandle | None = None  # the batchers' next moment
        self._closed = ""  # why no request is taken any more

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a client may ask to be told of a query: the model's answer, or of several models
        each one's and their mean."""
        models = self.binding.models
        return (*models, MEAN) if models else (self.binding.answer.name,)

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a coded batch."""
        return sum(batcher.queued_rows for batcher in self._batchers.values())

    @property
    def batches_in_flight(self) -> int:
        """Coded batches at the workers."""
        return len(self._in_flight)

    @property
    def longest_wait_s(self) -> float:
        """Until the last deadline of the requests in hand."""
        now = monotonic()
        deadlines = (request.wishes.deadline for request in self._requests.values())
        return max(0.0, max(deadlines, default=now) - now)

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken, and enough workers are up to answer them."""
        return not self._closed and self._pool.workers_up >= self.workers_needed

    @property
    def workers_needed(self) -> int:
        """So many give every answer, each with one task, though as many lie as may."""
        return self.binding.code.recovery_threshold + 2 * self.policy.liars

    async def infer(
        self, rows: np.ndarray, wishes: Wishes, policy: Policy, caller: Caller = NOBODY
    ) -> Request:
        """Answer rows [r, *query] float32; returns when all are answered or time is up.

        Raises:
            ResourceExhausted: the queue is full.
            Unavailable: closed, or too few workers are left.
            DeadlineExceeded: rows are missing at the deadline and the client wants all.
        """
        if self._closed:
            self._refuse("unavailable", caller, self._closed)
            raise Unavailable(f"{self.config.name!r} takes no requests: {self._closed}.", DRAINING)
        loop = asyncio.get_running_loop()
        now = monotonic()
        request = Request(
            id=next(self._numbers),
            rows=rows,
            wishes=wishes,
            answer_shape=self._coding.answer_shape,
            arrived=now,
            future=loop.create_future(),
            caller=caller,
        )
        try:
            self._queue(request, policy, now)
        except ResourceExhausted as refused:
            self._refuse("resource_exhausted", caller, str(refused))
            raise
        expiry = loop.call_at(wishes.deadline, self._expire, request)
        error: KofnError | None = None
        outcome = "internal"
        try:
            await request.future
            error = request.error()
            outcome = request.outcome(error)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            expiry.cancel()
            self._forget(request)
            took_s = monotonic() - now
            self.statistics.add_request(request, took_s, time_ns() // 1_000_000, outcome)
            if outcome != "ok" or took_s > SLOW_SHARE * (wishes.deadline - now):
                self._tell(request, outcome, took_s)
            else:
                log.debug("request-ok", request=request.name, deployment=self.config.name)
        if error is not None:
            raise error
        return request

    async def close(self, reason: str, drain_s: float) -> None:
        """Take no more requests; wait at most `drain_s` for those in hand."""
        self._closed = reason
        waiting = [request.future for request in self._requests.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=drain_s)
        for request in list(self._requests.values()):
            request.failure = reason
            request.expire()

    def _refuse(self, outcome: str, caller: Caller, reason: str) -> None:
        self.statistics.add_refusal(outcome)
        log.warning(
            "request-refused",
            request=caller.request_id,
            deployment=self.config.name,
            reason=reason,
        )

    def _tell(self, request: Request, outcome: str, took_s: float) -> None:
        """The one log line about a request that was slow or is not answered in full."""
        timings = request.timings
        tell = log.info if outcome == "cancelled" else log.warning  # by its client, who knows
        tell(
            "request-slow" if outcome == "ok" else f"request-{outcome.replace('_', '-')}",
            request=request.name,
            deployment=self.config.name,
            rows=len(request.rows),
            batches=list(request.responders)[:MOST_TOLD],
            took_ms=round(1e3 * took_s, 3),
            **{
                f"{stage}_ms": round(1e3 * getattr(timings, f"{stage}_s"), 3)
                for stage in ("queue", "encode", "wait", "decode")
            },
            reason=request.failure,
        )

    def _expire(self, request: Request) -> None:
        """Its deadline has passed; say how far it got."""
        reports = [batch.report() for batch in self._in_flight if batch.serves(request)]
        request.failure = "; ".join(reports) or "it waited in the queue all the time"
        request.expire()

    def _queue(self, request: Request, policy: Policy, now: float) -> None:
        batching = self.config.batching
        queue = (policy, frozenset(request.wishes.models or ()))
        batcher = self._batchers.get(queue)
        if batcher is None:
            if len(self._batchers) >= QUEUES_KEPT:  # else each gain limit of a client leaves one
                self._batchers = {q: b for q, b in self._batchers.items() if b.queued_rows}
            batcher = self._batchers[queue] = Batcher(self.binding.code.q, batching.limits())
        rows = len(request.rows)
        if self.queued_rows + rows > batching.queue_rows:
            raise ResourceExhausted(
                f"the queue of {self.config.name!r} is full: {self.queued_rows} rows wait and at "
                f"most {batching.queue_rows} may; try again later."
            )
        try:
            batcher.add(request.id, rows, now, request.wishes.deadline)
        except QueueFull as error:
            raise ResourceExhausted(str(error)) from error
        self._requests[request.id] = request
        self._pump()

    def _pump(self) -> None:
        """Start what is due, then set the clock for what is not."""
        now = monotonic()
        for (policy, _), batcher in self._batchers.items():
            while len(self._in_flight) < self.config.batching.max_in_flight:
                plan = batcher.take(now)
                if plan is None:
                    break
                batch = self._kind(
                    next(self._batch_numbers),
                    self._coding,
                    policy,
                    self._pool,
                    plan,
                    self._requests,
                    self._landed,
                )
                self._in_flight.add(batch)
                self.statistics.batch_rows.add(plan.rows)
                self.statistics.batch_groups.add(plan.groups)
                batch.start()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._in_flight) < self.config.batching.max_in_flight:
            dues = [due for b in self._batchers.values() if (due := b.next_due()) is not None]
            if dues:
                self._timer = asyncio.get_running_loop().call_at(min(dues), self._pump)

    def _landed(self, batch: CodedBatch | LayeredBatch) -> None:
        self._in_flight.discard(batch)
        self.statistics.batches += 1
        if self.queued_rows:
            self._pump()

    def _forget(self, request: Request) -> None:
        del self._requests[request.id]
        if not request.pending:
            return
        for batcher in self._batchers.values():
            batcher.drop(request.id)
        request.expire()  # a caller that hung up: late answers find a closed future
        for batch in [b for b in self._in_flight if not b.is_wanted]:
            batch.abandon()
