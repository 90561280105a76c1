"""One master's stream: tasks and cancellations in, results out in the order they are ready.

Turns messages into jobs and outcomes into messages; one reader, and one writer with a bounded
queue before it. In the query's way: the worker's door. Deciding and running is `dispatch.py`'s.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from functools import partial
from math import inf
from time import monotonic

import structlog

from kofn.wire import worker_pb2
from kofn.wire.errors import (
    CONNECTION_LOST,
    DRAINING,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    KofnError,
    ResourceExhausted,
    Unavailable,
)
from kofn.wire.tensors import from_wire, to_wire
from models.programs import Program
from worker.dispatch import Dispatcher
from worker.programs import Programs, unknown
from worker.runner import Job, Outcome, check_inputs

LOADING_LIMIT = 1024  # tasks that wait for their program to be read from disk
OUTGOING_LIMIT = 8192  # unwritten results; a master that far behind is not reading any more
MOST_US = 2**32 - 1  # of a field of a result: 71 minutes

log = structlog.get_logger(__name__)

Write = Callable[[worker_pb2.FromWorker], Awaitable[None]]


class Stream:
    """A master's tasks, from its connection to its end.

    Args:
        programs: what this worker holds.
        dispatcher: who runs tasks.
    """

    def __init__(self, programs: Programs, dispatcher: Dispatcher) -> None:
        self._programs = programs
        self._dispatcher = dispatcher
        # Tasks of this stream by id, neither ended nor cancelled; those whose program is still
        # being read from disk have a task of ours beside them in `_loading`.
        self._in_hand: set[int] = set()
        self._loading: dict[int, asyncio.Task[None]] = {}
        self._outgoing: asyncio.Queue[worker_pb2.FromWorker | None] = asyncio.Queue(OUTGOING_LIMIT)
        self._is_read = False  # the master sends nothing more
        self._is_draining = False
        self._error: KofnError | None = None  # what breaks the stream
        self._broken = asyncio.Event()

    async def serve(self, messages: AsyncIterator[worker_pb2.ToWorker], write: Write) -> None:
        """Carry messages until the stream ends; raises KofnError when this side breaks it.

        Args:
            messages: from the master.
            write: one message to it; one at a time.
        """
        if self._dispatcher.faults.kinds:
            self.tell_faults()
        parts = [
            asyncio.create_task(self._read(messages), name="stream-read"),
            asyncio.create_task(self._write(write), name="stream-write"),
            asyncio.create_task(self._broken.wait(), name="stream-broken"),
        ]
        reader, writer, broken = parts
        try:
            while not (writer.done() or broken.done()):
                await asyncio.wait(
                    [part for part in parts if not part.done()], return_when="FIRST_COMPLETED"
                )
                if reader.done():
                    reader.result()  # raises what ended it
            if self._error is not None:
                raise self._error
            writer.result()
        finally:
            for part in (*parts, *self._loading.values()):
                part.cancel()
            self._dispatcher.drop(self)
            await asyncio.gather(*parts, *self._loading.values(), return_exceptions=True)

    def abort(self, error: KofnError) -> None:
        """Break the stream with this error; its tasks are dropped at once."""
        self._error = self._error or error
        self._dispatcher.drop(self)
        self._broken.set()

    def tell_faults(self) -> None:
        """Tell the master what goes wrong here from now on."""
        told = worker_pb2.FaultsInForce(kinds=self._dispatcher.faults.kinds)
        self._send(worker_pb2.FromWorker(faults=told))

    def drain(self) -> None:
        """Tell the master to send no further task; the stream ends when those in hand are done."""
        if not self._is_draining:
            self._is_draining = True
            self._send(worker_pb2.FromWorker(draining=worker_pb2.Draining()))
            self._end_if_done()

    async def _read(self, messages: AsyncIterator[worker_pb2.ToWorker]) -> None:
        async for message in messages:
            await self._dispatcher.awake.wait()
            match message.WhichOneof("message"):
                case "task":
                    self._take(message.task)
                case "cancel":
                    self._cancel(list(message.cancel.ids))
                case None:
                    self.abort(InvalidArgument("A message must have a task or a cancellation."))
        self._is_read = True
        self._end_if_done()

    async def _write(self, write: Write) -> None:
        while (message := await self._outgoing.get()) is not None:
            await self._dispatcher.awake.wait()
            await write(message)

    def _take(self, task: worker_pb2.Task) -> None:
        if task.id in self._in_hand:
            refused = InvalidArgument("A task of this id is in hand already.", "duplicate-id")
            self._send(from_worker(task.id, Outcome(error=refused), self._dispatcher))
            return
        self._in_hand.add(task.id)
        arrived_s = monotonic()
        program = self._programs.loaded(task.program)
        if program is not None:
            self._submit(task, program, arrived_s)
        elif not self._programs.holds(task.program):
            self._end(task.id, Outcome(error=unknown(task.program)))
        elif len(self._loading) >= LOADING_LIMIT:
            full = ResourceExhausted("Too many tasks wait for their program.", "queue-full")
            self._end(task.id, Outcome(error=full))
        else:
            loading = asyncio.create_task(self._load(task, arrived_s), name="load")
            self._loading[task.id] = loading
            loading.add_done_callback(partial(self._loaded, task.id))

    async def _load(self, task: worker_pb2.Task, arrived_s: float) -> None:
        try:
            program = await self._programs.obtain(task.program)
        except KofnError as error:
            self._end(task.id, Outcome(error=error))
        else:
            self._submit(task, program, arrived_s)

    def _loaded(self, task_id: int, loading: "asyncio.Task[None]") -> None:
        if self._loading.get(task_id) is loading:
            del self._loading[task_id]
        if not loading.cancelled() and (error := loading.exception()):
            log.error("load-failed", exc_info=error)
            self.abort(Internal("The worker could not load a program."))

    def _submit(self, task: worker_pb2.Task, program: Program, arrived_s: float) -> None:
        try:
            if self._is_draining:
                raise Unavailable("The worker is draining.", DRAINING)
            submitted = job(
                task, (self, task.id), self, program, arrived_s, partial(self._end, task.id)
            )
            submitted.released = partial(self._release, task.id)
            self._dispatcher.submit(submitted)
        except KofnError as error:
            self._end(task.id, Outcome(error=error))

    def _cancel(self, ids: list[int]) -> None:
        self._dispatcher.cancel([(self, task_id) for task_id in ids])
        for task_id in ids:
            self._in_hand.discard(task_id)
            loading = self._loading.pop(task_id, None)
            if loading is not None and loading.cancel():
                self._release(task_id)
        self._end_if_done()

    def _end(self, task_id: int, outcome: Outcome) -> None:
        """A task has ended: tell the master, unless nobody waits for it any more."""
        self._in_hand.discard(task_id)
        if isinstance(outcome.error, DeadlineExceeded):
            self._release(task_id)
        else:
            self._send(from_worker(task_id, outcome, self._dispatcher))
        self._end_if_done()

    def _release(self, task_id: int) -> None:
        """Nothing of a task runs any more that is not answered."""
        self._send(worker_pb2.FromWorker(released=worker_pb2.Released(ids=[task_id])))

    def _end_if_done(self) -> None:
        if (self._is_read or self._is_draining) and not self._in_hand:
            self._send(None)

    def _send(self, reply: worker_pb2.FromWorker | None) -> None:
        try:
            self._outgoing.put_nowait(reply)
        except asyncio.QueueFull:
            self.abort(ResourceExhausted("The master does not read its results."))


def job(
    task: worker_pb2.Task,
    ticket: Hashable,
    owner: Hashable,
    program: Program,
    arrived_s: float,
    then: Callable[[Outcome], None],
) -> Job:
    """The job of a task; raises InvalidArgument when its tensors are not what the program takes."""
    inputs = [from_wire(tensor) for tensor in task.inputs]
    datatypes = [tensor.datatype for tensor in task.inputs]
    wanted = [spec.datatype for spec in program.inputs]
    if datatypes != wanted:
        raise InvalidArgument(f"The program takes inputs of {wanted}, not {datatypes}.")
    check_inputs(program, inputs)
    due_s = arrived_s + task.deadline_ms / 1e3 if task.deadline_ms else inf
    return Job(
        ticket,
        owner,
        program,
        inputs,
        task.seed,
        arrived_s,
        due_s,
        then,
        task.batch,
        task.traceparent,
    )


def result(task_id: int, outcome: Outcome, dispatcher: Dispatcher) -> worker_pb2.Result:
    """What the master is told of an outcome."""
    error = outcome.error
    return worker_pb2.Result(
        id=task_id,
        code=error.status.value[0] if error else 0,
        reason=f"{error.reason}: {error.message}" if error else "",
        outputs=[to_wire(array) for array in outcome.outputs],
        queue_us=min(round(outcome.queue_s * 1e6), MOST_US),
        compute_us=min(round(outcome.service_s * 1e6), MOST_US),
        queue_depth=dispatcher.depth,
        busy_us=round(dispatcher.busy_s * 1e6),
        program=outcome.program,
    )


def from_worker(task_id: int, outcome: Outcome, dispatcher: Dispatcher) -> worker_pb2.FromWorker:
    """`result`, as it goes on a stream."""
    return worker_pb2.FromWorker(result=result(task_id, outcome, dispatcher))


def lost(why: str) -> KofnError:
    """The error of a stream that this worker breaks off."""
    return Unavailable(why, CONNECTION_LOST)
