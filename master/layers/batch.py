"""A batch on its way through a model, layer by layer: coded products, and between them all else.

It stands where `master.scatter.CodedBatch` does. Answers of a layer come from whichever workers are
first, one more than decode, so that a wrong one is noticed; who is late is left behind in that
layer only.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping
from time import monotonic

import numpy as np
import structlog

from codes.polydot import Decoded, energies, noise_of, worst
from kofn.matrices.gathering import gathered
from kofn.matrices.worker import Answer, Held, MatrixWorker
from kofn.wire.errors import KofnError, NotFound, Unavailable
from kofn.wire.source import Source
from master.batcher import Plan
from master.coding import Coding
from master.layers.network import Array, Network, Product, Values
from master.layers.shares import Shares
from master.parts import Parts
from master.policy import Policy
from master.pool import Pool
from master.query import Request, Timings

EPS = float(np.finfo(np.float32).eps)
LEAST_S = 0.001  # of a call: what is too late is told by its deadline

log = structlog.get_logger(__name__)


class LayeredBatch:
    """Rows of some requests, going through the model together. Arguments as of `CodedBatch`."""

    _ids = itertools.count(1)

    def __init__(
        self,
        number: int,
        coding: Coding,
        policy: Policy,
        pool: Pool,
        plan: Plan,
        requests: Mapping[int, Request],
        done: Callable[["LayeredBatch"], None],
    ) -> None:
        assert coding.layers is not None
        self.plan = plan
        self.id = next(self._ids)
        self._number = number
        self._coding = coding
        self._network: Network = coding.layers.network
        self._shares: Shares = coding.layers.shares
        self._pool = pool
        self._parts = Parts(plan, requests, 1)
        self._done = done
        code = coding.bound
        wished = (policy.recovery_threshold or 0) - code.recovery_threshold
        self._spares = max(1, 2 * policy.liars, wished)
        self._started = monotonic()
        self._timings = Timings(queue_s=self._started - plan.oldest_arrival)
        self._layer = 0  # under way
        self._estimate = 0.0  # of the relative error: the sum of the layers'
        self._running: asyncio.Task[None]

    def start(self) -> None:
        """Begin; returns at once."""
        self._running = asyncio.create_task(self._run(), name=f"batch {self.id}")

    def abandon(self) -> None:
        """Nobody waits any more."""
        self._running.cancel()

    @property
    def is_wanted(self) -> bool:
        """Whether any of its requests still waits."""
        return any(not request.is_done for request in self._parts.requests)

    def serves(self, request: Request) -> bool:
        """Whether rows of this request travel in this batch."""
        return any(request is other for other in self._parts.requests)

    def report(self) -> str:
        """How far it has come, for a client that waits no longer."""
        return f"{self._layer} of {len(self._network.products)} coded layers were done"

    async def _run(self) -> None:
        try:
            answers = await self._through()
        except KofnError as error:
            self._fail(str(error))
        except Exception as error:
            log.exception("batch-failed", deployment=self._coding.name, batch=self.id)
            for request in self._parts.requests:
                if not request.is_done:
                    request.future.set_exception(error)
        else:
            self._deliver(answers)
        finally:
            self._done(self)

    async def _through(self) -> Array:
        """The model's answers, [rows, *answer]."""
        advance = self._network.advance
        values: Values = {}
        given: Array = self._parts.stacked()
        for product in self._network.products:
            operand = await asyncio.to_thread(advance, self._layer, given, values)
            given = await self._multiplied(product, operand)
            self._layer += 1
        return await asyncio.to_thread(advance, self._layer, given, values)

    async def _multiplied(self, product: Product, operand: Array) -> Array:
        """One layer's product, [outputs, columns]."""
        layer = product.weight.layer
        ready = await self._shares.enough(min(layer.nodes, layer.blocks_m + self._spares))
        if len(ready) < layer.blocks_m:
            raise Unavailable(
                f"{layer.blocks_m} workers with shares of the model are needed, and "
                f"{len(ready)} are ready."
            )
        began = monotonic()
        calls = {node: self._asked(product, node, ready[node], operand) for node in ready}
        self._coding.statistics.tasks_sent += len(calls)

        def decode(answers: Mapping[int, Answer]) -> Decoded:
            height = len(answers[min(answers)].array)
            entries = height * operand.shape[1]
            of_x = energies(operand, 1)
            noise = worst(
                [noise_of(product.weight.energies[node], of_x, entries, EPS) for node in answers]
            )
            arrays = {node: answer.array for node, answer in answers.items()}
            seed = secrets.randbits(32)
            return layer.forward_frame.decode(arrays, noise.sigma, size=noise.size, seed=seed)

        found = await gathered(
            calls, decode, fewest=layer.blocks_m, spares=min(self._spares, len(ready) - 1)
        )
        self._timings.wait_s += monotonic() - began
        for node in (*found.decoded.nodes, *found.decoded.liars):
            lied = node in found.decoded.liars
            address = ready[node].address
            self._pool.heard(address, lied=lied, needed=layer.blocks_m + self._spares)
        self._estimate += found.decoded.estimate
        return layer.joined_out(found.decoded.values, len(product.weight.weight))

    async def _asked(
        self, product: Product, node: int, worker: MatrixWorker, operand: Array
    ) -> Answer:
        """One node's answer."""
        began = monotonic()
        left_s = max(LEAST_S, self.plan.latest_deadline - began)
        try:
            answer = await worker.multiply(
                Held(self._shares.name(product.number, node)),
                operand,
                left_s,
                seed=(self._number << 20) + (product.number << 10) + node,
            )
        except NotFound:
            self._shares.lost(node)
            raise
        wanted = (-(-len(product.weight.weight) // product.weight.layer.blocks_m), operand.shape[1])
        if answer.array.shape != wanted or answer.array.dtype != np.float32:
            raise Unavailable(f"An answer must be float32 {list(wanted)}.")
        self._coding.statistics.slot_latency.add(monotonic() - began)
        return answer

    def _deliver(self, answers: Array) -> None:
        for request, entries, groups, count in self._parts.places(0):
            if not request.is_done:
                request.outputs[entries] = answers[groups]
                request.source[entries] = Source.DECODED
                request.expected_error[entries] = self._estimate**2
                request.timings.take_longest(self._timings)
                request.settle(count)

    def _fail(self, reason: str) -> None:
        log.warning("batch-not-answered", deployment=self._coding.name, reason=reason)
        for request, _, _, count in self._parts.places(0):
            if not request.is_done:
                request.failure = reason
                request.out_of_time |= monotonic() >= self.plan.latest_deadline
                request.settle(count)
