"""Workers over gRPC as the nodes of a coded training.

A training is an ordinary program that waits for its products; gRPC runs on an event loop in another
thread. A worker that fails, is late or holds another version is absent from what comes back, and
the training decides what follows. Steps are staged by `Update` and committed by whatever names
their version next. Workers do not tell what they received: inputs of an update are checked as they
were made here, and what was lost behind that shows when blocks are next compared.
"""

import asyncio
import itertools
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import structlog

from kofn.matrices.worker import Held, Made, MatrixWorker
from kofn.wire import matrices_pb2 as pb
from kofn.wire.errors import KofnError
from kofn.wire.matrices import chunks, head_of
from kofn.wire.tls import Tls
from training.coded.gathering import GRACE_S
from training.coded.nodes import EMPTY, Array, Inputs, Part, Rule

CALL_S = 10.0  # of a product and the like; a training step takes far less
MOVE_S = 120.0  # of a whole block
PARTS = {"weight": pb.VALUE, "velocity": pb.MOMENTUM}
COPIES = 5  # that are made at most, until one is like what it is of
_BOTH: tuple[Part, ...] = ("weight", "velocity")
KEPT = ".kept"  # what is added to the name of a checkpoint's copies

log = structlog.get_logger(__name__)
T = TypeVar("T")


class WorkerNodes:
    """`training.coded.Nodes` over workers; blocking, for one training at a time.

    Args:
        workers: node by node.
        loop: that runs their channels, in another thread.
        seed: of the faults that workers inject.
    """

    def __init__(
        self, workers: Sequence[MatrixWorker], loop: asyncio.AbstractEventLoop, seed: int = 0
    ) -> None:
        self._workers = list(workers)
        self._loop = loop
        self._seeds = itertools.count(seed * 2**32 + 1)
        self._is_up = [True] * len(workers)

    @property
    def count(self) -> int:
        """How many there are, dead ones counted."""
        return len(self._workers)

    def fill(
        self, name: str, version: int, node: int, part: Part, rows: int, strips: Iterable[Array]
    ) -> None:
        """See `Nodes`; what goes wrong in making the strips is raised."""
        rest = iter(strips)
        first = next(rest, None)
        if first is None:  # nobody to make it from
            return
        head = head_of(first)
        head.rows = rows
        broken: list[Exception] = []

        def pieces() -> Iterator[memoryview]:
            try:
                for strip in itertools.chain([first], rest):
                    yield from chunks(strip)
            except Exception as error:  # noqa: BLE001 - gRPC would only say that it broke off
                broken.append(error)

        async def put() -> object:
            to = Held(name, version, PARTS[part])
            return await self._workers[node].put(to, Made(head, pieces), MOVE_S)

        self._all({node: put()})
        if broken:
            raise broken[0]

    def multiply(
        self, name: str, version: int, inputs: Mapping[int, Array], *, transpose: bool
    ) -> Iterator[Mapping[int, Array]]:
        """See `Nodes`: once half have come, the others get as long again, and later ones one by
        one."""
        held = Held(name, version, transpose=transpose)

        async def product(node: int, values: Array) -> Array:
            worker, seed = self._workers[node], next(self._seeds)
            return (await worker.multiply(held, values, CALL_S, seed=seed)).array

        gathering = _Gathering(
            {node: product(node, values) for node, values in inputs.items()}, self._tell
        )
        try:
            while some := self._run(gathering.more()):
                yield some
        finally:
            self._run(gathering.end())

    def stage(
        self, name: str, step: int, inputs: Mapping[int, Inputs], rule: Rule, projections: int
    ) -> Mapping[int, Inputs]:
        """See `Nodes`."""

        async def update(node: int, coded: Inputs) -> object:
            request = pb.UpdateRequest(
                name=name,
                step=step,
                rate=rule.lr,
                momentum=rule.momentum,
                weight_decay=rule.weight_decay,
                seed=next(self._seeds),
            )
            worker = self._workers[node]
            return await worker.update(request, coded.signal, coded.activation, CALL_S)

        taken = self._all({node: update(node, coded) for node, coded in inputs.items()})
        return {node: inputs[node].projected(step, projections) for node in taken}

    def commit(self, name: str, step: int, nodes: Collection[int]) -> None:
        """See `Nodes`: whatever names the version next commits it."""

    def sketch(
        self, name: str, version: int, part: Part, seed: int, columns: int
    ) -> Mapping[int, Array]:
        """See `Nodes`."""
        held = Held(name, version, PARTS[part])

        async def sketch(worker: MatrixWorker) -> Array:
            answer = await worker.sketch(held, seed, columns, CALL_S, next(self._seeds))
            return answer.array

        return self._all({node: sketch(worker) for node, worker in enumerate(self._workers)})

    def versions(self, name: str) -> Mapping[int, int]:
        """See `Nodes`."""
        asked = self._all({node: worker.status() for node, worker in enumerate(self._workers)})
        found = {}
        for node, status in asked.items():
            held = {matrix.name: matrix for matrix in status.matrices}.get(name)
            found[node] = EMPTY if held is None else held.version + held.staged
        return found

    def strips(
        self, name: str, version: int, part: Part, nodes: Collection[int]
    ) -> Iterator[Mapping[int, Array]]:
        """See `Nodes`."""
        held = Held(name, version, PARTS[part])
        streams = {
            node: self._workers[node].rows(held, MOVE_S, next(self._seeds)) for node in nodes
        }
        try:
            while streams:
                some = self._all({node: _next(stream) for node, stream in streams.items()})
                streams = {node: stream for node, stream in streams.items() if node in some}
                if not all(len(rows) for rows in some.values()) or not some:
                    return
                yield some
        finally:
            for stream in streams.values():
                self._run(_closed(stream))

    def keep(self, name: str, version: int) -> None:
        """See `Nodes`; the copies go through here, a few rows at a time."""
        self._copied(name, name + KEPT, version)

    def restore(self, name: str, version: int) -> None:
        """See `Nodes`."""
        self._copied(name + KEPT, name, version)

    def _copied(self, name: str, other: str, version: int) -> None:
        asked = self._all({node: worker.status() for node, worker in enumerate(self._workers)})
        for node, status in asked.items():
            for held in status.matrices:
                if held.name != name or held.version + held.staged != version:
                    continue
                for part in _BOTH if held.has_momentum else _BOTH[:1]:
                    for _ in range(COPIES):
                        rows = self.strips(name, version, part, [node])
                        strips = (some[node] for some in rows)
                        self.fill(other, version, node, part, held.head.rows, strips)
                        if self._are_alike(name, other, version, part, node):
                            break

    def _are_alike(self, name: str, other: str, version: int, part: Part, node: int) -> bool:
        """Whether a worker's copy is one, as far as sketches tell: what it says may be wrong."""
        worker, seed = self._workers[node], next(self._seeds)
        sketches = [
            worker.sketch(Held(one, version, PARTS[part]), seed, 1, CALL_S, next(self._seeds))
            for one in (name, other)
        ]
        found = self._all(dict(enumerate(sketches)))
        return len(found) == 2 and np.array_equal(found[0].array, found[1].array)

    def _all(self, calls: Mapping[int, Coroutine[Any, Any, T]]) -> dict[int, T]:
        """What calls gave, without those that failed."""

        async def gather() -> list[T | BaseException]:
            return await asyncio.gather(*calls.values(), return_exceptions=True)

        found = {}
        for node, outcome in zip(calls, self._run(gather()), strict=True):
            if isinstance(outcome, KofnError):
                self._tell(node, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                found[node] = outcome
                self._tell(node, None)
        return found

    def _tell(self, node: int, error: KofnError | None) -> None:
        """Log the first of a node's failures, and its return."""
        if self._is_up[node] != (error is None):
            self._is_up[node] = error is None
            worker = self._workers[node].address
            if error is None:
                log.info("node-back", worker=worker)
            else:
                log.warning("node-failed", worker=worker, reason=error.reason, error=str(error))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Gathering:
    """Answers as they come; all methods on the event loop."""

    def __init__(
        self,
        calls: Mapping[int, Coroutine[Any, Any, Array]],
        tell: Callable[[int, KofnError | None], None],
    ) -> None:
        self._calls = dict(calls)
        self._tell = tell
        self._tasks: dict[asyncio.Task[Array], int] = {}
        self._pending: set[asyncio.Task[Array]] = set()

    async def more(self) -> dict[int, Array]:
        """Further answers; none, when there will be none."""
        found: dict[int, Array] = {}
        if not self._tasks:
            self._tasks = {asyncio.create_task(call): node for node, call in self._calls.items()}
            self._pending = set(self._tasks)
            clock = asyncio.get_running_loop().time
            began_s, half = clock(), len(self._tasks) // 2
            while len(self._pending) > half:
                found |= await self._one(None)
            until_s = clock() + max(GRACE_S, clock() - began_s)
            while self._pending and (left_s := until_s - clock()) > 0:
                found |= await self._one(left_s)
        while not found and self._pending:
            found |= await self._one(None)
        return found

    async def end(self) -> None:
        """Give up what is still to come."""
        for call in self._calls.values() if not self._tasks else ():
            call.close()
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    async def _one(self, timeout_s: float | None) -> dict[int, Array]:
        done, self._pending = await asyncio.wait(
            self._pending, timeout=timeout_s, return_when="FIRST_COMPLETED"
        )
        found = {}
        for task in done:
            node = self._tasks[task]
            try:
                found[node] = task.result()
            except KofnError as error:
                self._tell(node, error)
            else:
                self._tell(node, None)
        return found


@contextmanager
def connected(
    addresses: Sequence[str], tls: Tls | None = None, seed: int = 0
) -> Iterator[WorkerNodes]:
    """Workers at these addresses as nodes, on an event loop of their own.

    Args:
        addresses: "host:port" each, node by node.
        tls: None is plaintext.
        seed: of the faults that workers inject.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="coded-training", daemon=True)
    thread.start()

    async def opened() -> list[MatrixWorker]:
        return [MatrixWorker(address, tls) for address in addresses]

    async def closed(workers: Sequence[MatrixWorker]) -> None:
        await asyncio.gather(*(worker.close() for worker in workers))

    workers = asyncio.run_coroutine_threadsafe(opened(), loop).result()
    try:
        yield WorkerNodes(workers, loop, seed)
    finally:
        asyncio.run_coroutine_threadsafe(closed(workers), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _next(stream: AsyncIterator[Array]) -> Array:
    """The next rows; none of them at the end."""
    return await anext(stream, np.empty((0, 0)))


async def _closed(stream: AsyncIterator[Array]) -> None:
    if hasattr(stream, "aclose"):
        await stream.aclose()
