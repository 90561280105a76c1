"""One worker's stream, kept open: tasks go out, results come back, and each task ends exactly once.

A link connects, reads the worker's greeting, carries tasks and, when its stream breaks, reports
every task in flight as lost and connects again. It does not choose workers (`pool`) and does not
know what a slot is (`scatter`). It has one writer and one reader; `send` never awaits.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any, Literal, Protocol, TypeVar

import grpc
import structlog

from kofn.metrics import Histogram
from kofn.wire import worker_pb2, worker_pb2_grpc
from kofn.wire.errors import KofnError, NotFound, Unavailable, from_rpc_error
from master.dialling import Dialling
from master.in_hand import InHand
from master.latency import Latency

CONNECT_S = 3.0  # longer than any pause before gRPC dials again
GREETING_TIMEOUT_S = 5.0  # a peer that accepts a stream and says nothing is no worker
RETRY_MIN_S, RETRY_MAX_S = 0.1, 0.5  # as gRPC's own: a returned worker is used within a second
PUSH_TIMEOUT_S = 60.0  # an archive of 64 MiB on a slow network
PUSH_CHUNK_BYTES = 1 << 20  # under the 4 MiB at which protobuf's copies grow dear
CALL_TIMEOUT_S = 5.0  # faults and other small calls
OUTGOING_LIMIT = 512  # unwritten tasks; a worker that far behind has lost them anyway

LEAVING = "the master is leaving"
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]

T = TypeVar("T")
State = Literal["connecting", "up", "draining", "down"]
Outcome = worker_pb2.Result | None  # None: the task came to nothing

log = structlog.get_logger(__name__)


class Listener(Protocol):
    """Who is told when a worker comes and goes; called on the event loop, must not block."""

    async def prepare(self, link: "Link") -> None:
        """The worker has greeted; the link counts as up when this returns."""

    def up(self, link: "Link") -> None:
        """Tasks may be sent from now on."""

    def draining(self, link: "Link") -> None:
        """No further task may be sent; those in flight will still be answered."""

    def lost(self, link: "Link", reason: str) -> None:
        """The stream broke; right after this call every task in flight is reported lost."""


class Link:
    """The connection to one worker address.

    Args:
        address: "host:port" of the worker's gRPC server.
        listener: told of coming and going.
        dialling: how it is reached.
        host: the name that stood for the address.
    """

    def __init__(self, address: str, listener: Listener, dialling: Dialling, host: str) -> None:
        self.address = address
        self.state: State = "connecting"
        self.greeting = worker_pb2.Greeting()  # of the current or the last connection
        self.latency = Latency()  # the last round trips of answered tasks, seconds
        self.round_trips = Histogram()  # all of them, seconds
        self.queue_times = Histogram()  # before the device, as the worker tells with each result
        self.service_times = Histogram()  # on the device, likewise
        self.connections = 0  # greetings heard
        self.results = 0
        self.failures = 0  # tasks answered with an error
        self.losses = 0  # tasks in flight when the stream broke
        self.cancellations = 0
        self.sent_bytes = 0  # payload of tasks, as they are written
        self._busy_s = 0.0  # in service, as the process at the other end last reported
        self._busy_before_s = 0.0  # the same of processes that are gone
        self.queue_depth = 0  # as last reported
        self.programs: set[str] = set()  # what the worker has loaded for us
        self.faults: frozenset[str] = frozenset()  # kinds that it injects, as it last told
        self._listener = listener
        self._dialling = dialling
        self._channel = dialling.channel(address, host)
        self._stub = worker_pb2_grpc.WorkerStub(self._channel)
        self._next_id = 0
        self._in_hand: InHand[worker_pb2.Result] = InHand()
        self._outgoing: deque[tuple[int, worker_pb2.ToWorker]] = deque()  # tasks not yet written
        self._cancelled: list[int] = []  # to be told to the worker; one message names them all
        self._renewal = ""  # why the stream is to end and be opened again
        self._wake = asyncio.Event()  # something to write
        self._unreachable = ""  # why the last try failed, as the log was told

    @property
    def name(self) -> str:
        """The worker's own name, or its address before it has greeted."""
        return self.greeting.worker or self.address

    @property
    def channel(self) -> grpc.aio.Channel:
        """To the worker, for other services of it."""
        return self._channel

    @property
    def busy_s(self) -> float:
        """Seconds in service that the worker reported, for all its masters and cancelled work."""
        return self._busy_before_s + self._busy_s

    @property
    def in_flight(self) -> int:
        """Tasks sent and neither answered, lost nor cancelled."""
        return len(self._in_hand)

    def send(self, message: worker_pb2.ToWorker, then: Callable[[Outcome], None]) -> int | None:
        """Hand a task to the writer; `then` is called once, later, with its result or None.

        Returns:
            The task's id, for `cancel`; None (and `then` is never called) when the link is not up
            or so far behind that its queue is full.
        """
        if self.state != "up" or len(self._outgoing) >= OUTGOING_LIMIT:
            return None
        self._next_id += 1
        task_id = message.task.id = self._next_id
        self._in_hand.sent(task_id, then, monotonic())
        self._outgoing.append((task_id, message))
        self._wake.set()
        return task_id

    def cancel(self, task_id: int, released: Callable[[], None]) -> None:
        """Forget a task in flight: its callback is not called; the worker is told to drop it.

        Args:
            task_id: as `send` gave it.
            released: called once, perhaps at once, when nothing of it runs at the worker any more.

        Raises:
            KeyError: it is not in flight.
        """
        must_tell = self._in_hand.cancel(task_id, released)
        self.cancellations += 1
        if must_tell:
            self._cancelled.append(task_id)
            self._wake.set()

    def renew(self, reason: str) -> None:
        """End the stream and open it again, so that the worker is prepared once more."""
        self._renewal = reason
        self._wake.set()

    async def run(self) -> None:
        """Keep the stream open until cancelled, then close the channel."""
        retry_s = RETRY_MIN_S
        try:
            while True:
                reason = "closed by the worker"
                try:
                    with contextlib.suppress(TimeoutError):  # the call below tells why
                        async with asyncio.timeout(CONNECT_S):
                            await self._channel.channel_ready()
                    await self._serve_stream()
                    retry_s = RETRY_MIN_S
                except grpc.aio.AioRpcError as error:
                    reason = f"{error.code().name}: {from_rpc_error(error)}"
                except (TimeoutError, KofnError) as error:
                    reason = str(error) or "no greeting in time"
                except asyncio.InvalidStateError:
                    pass  # the writer was first to find the stream ended
                self._break(reason)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_MAX_S)
        finally:
            self._break(LEAVING)
            await self._channel.close(None)

    async def push(self, program: str, archive: bytes) -> None:
        """Have the worker load a program; it is sent where the worker does not hold it.

        Raises:
            KofnError: the worker refused it, or could not be reached in time.
        """
        if program in self.greeting.programs:
            try:
                await self._push(program, b"")
            except NotFound:
                log.warning("program-gone", worker=self.name, program=program[:12])
            else:
                return
        await self._push(program, archive)

    async def _push(self, program: str, archive: bytes) -> None:
        async def chunks() -> AsyncIterator[worker_pb2.ProgramChunk]:
            for start in range(0, max(1, len(archive)), PUSH_CHUNK_BYTES):
                part = archive[start : start + PUSH_CHUNK_BYTES]
                if start:
                    yield worker_pb2.ProgramChunk(data=part)
                else:
                    signature = self._dialling.signature(program)
                    yield worker_pb2.ProgramChunk(program=program, data=part, signature=signature)

        await _answered(self._stub.PushProgram(chunks(), timeout=PUSH_TIMEOUT_S))
        self.programs.add(program)

    async def set_faults(self, faults_json: str) -> worker_pb2.Faults:
        """Replace the worker's injected faults; raises KofnError when it refuses them."""
        request = worker_pb2.SetFaultsRequest(faults_json=faults_json)
        return await _answered(self._stub.SetFaults(request, timeout=CALL_TIMEOUT_S))

    async def get_faults(self) -> worker_pb2.Faults:
        """The faults that the worker injects now; raises KofnError when it cannot be asked."""
        return await _answered(
            self._stub.GetFaults(worker_pb2.GetFaultsRequest(), timeout=CALL_TIMEOUT_S)
        )

    async def _serve_stream(self) -> None:
        """One stream, from greeting to its end."""
        call: Any = self._stub.Work()
        try:
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                first = await call.read()
            if not isinstance(first, worker_pb2.FromWorker) or not first.HasField("greeting"):
                raise Unavailable("the stream did not open with a greeting")
            if first.greeting.process_id != self.greeting.process_id:
                self._busy_before_s, self._busy_s = self.busy_s, 0.0
            self.greeting = first.greeting
            self.connections += 1
            self.programs = set()
            self.faults = frozenset()
            reader = asyncio.create_task(self._read(call), name=f"read {self.address}")
            writer = asyncio.create_task(self._write(call), name=f"write {self.address}")
            try:
                await self._open(reader)
                done, _ = await asyncio.wait({reader, writer}, return_when="FIRST_COMPLETED")
                for task in done:
                    task.result()  # raises what broke the stream
            finally:
                for task in (reader, writer):
                    task.cancel()
                await asyncio.gather(reader, writer, return_exceptions=True)
        finally:
            if not call.cancel():
                # Where a write met the stream's end, gRPC counts the call as ended and does not
                # cancel it; with messages unread, it and its task would stay for ever.
                call._cython_call.cancel("the stream broke")

    async def _open(self, reader: asyncio.Task[None]) -> None:
        """Let the listener prepare the worker; give up when the stream breaks meanwhile."""
        prepare = asyncio.create_task(self._listener.prepare(self), name=f"greet {self.address}")
        try:
            await asyncio.wait({prepare, reader}, return_when="FIRST_COMPLETED")
            if prepare.done():
                prepare.result()
                self.state = "up"
                self._listener.up(self)
        finally:
            prepare.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await prepare

    async def _read(self, call: "grpc.aio.StreamStreamCall[Any, Any]") -> None:
        while isinstance(message := await call.read(), worker_pb2.FromWorker):  # else the end
            if message.HasField("result"):
                self._settle(message.result)
                if message.result.code == NOT_FOUND:  # its disk failed: greet anew, push again
                    raise Unavailable(message.result.reason)
            elif message.HasField("released"):
                for task_id in message.released.ids:
                    self._in_hand.released(task_id)
            elif message.HasField("draining"):
                self.state = "draining"
                self._listener.draining(self)
            elif message.HasField("faults"):
                self.faults = frozenset(message.faults.kinds)

    async def _write(self, call: "grpc.aio.StreamStreamCall[Any, Any]") -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._renewal:
                raise Unavailable(self._renewal)
            while self._outgoing:
                task_id, message = self._outgoing.popleft()
                if task_id in self._in_hand:
                    self.sent_bytes += sum(len(tensor.data) for tensor in message.task.inputs)
                    await call.write(message)
                else:
                    self._in_hand.released(task_id)  # cancelled before it was written
            ids = [task_id for task_id in self._cancelled if self._in_hand.is_leaving(task_id)]
            self._cancelled.clear()
            if ids:
                await call.write(worker_pb2.ToWorker(cancel=worker_pb2.Cancel(ids=ids)))

    def _settle(self, result: worker_pb2.Result) -> None:
        self.queue_depth = result.queue_depth
        self._busy_s = max(self._busy_s, result.busy_us / 1e6)
        waiting = self._in_hand.answered(result.id)
        if waiting is None:
            return
        then, sent_at = waiting
        if result.code == 0:
            self.results += 1
            took_s = monotonic() - sent_at
            self.latency.add(took_s)
            self.round_trips.add(took_s)
            self.queue_times.add(result.queue_us / 1e6)
            self.service_times.add(result.compute_us / 1e6)
        else:
            self.failures += 1
        then(result)

    def _break(self, reason: str) -> None:
        was, self.state, self._renewal = self.state, "down", ""
        if was in ("up", "draining"):
            log.warning("worker-lost", worker=self.name, address=self.address, reason=reason)
            self._listener.lost(self, reason)
        elif reason not in (LEAVING, self._unreachable):  # told once for many tries alike
            log.warning("worker-unreachable", address=self.address, reason=reason)
        self._unreachable = reason
        self._outgoing.clear()
        self.losses += self._in_hand.lose()
        self._cancelled.clear()


async def _answered(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
