"""The worker's gRPC service: streams of tasks, single tasks, programs pushed, faults set.

Each method checks and hands over; the work is done in `stream.py`, `dispatch.py`, `programs.py`.
While an injected hang lasts nothing here answers, health included, but connections stay open,
since the transport answers pings by itself. `SetFaults` and `GetFaults` go on: they end a hang.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from importlib.metadata import version
from time import monotonic
from typing import Any

import grpc

from kofn.settings import SettingsError
from kofn.wire import worker_pb2, worker_pb2_grpc
from kofn.wire.errors import InvalidArgument, KofnError
from kofn.wire.serving import ServerInterceptor
from worker.dispatch import Dispatcher
from worker.faults_text import parse_faults
from worker.operations import Operations
from worker.programs import Programs
from worker.runner import Outcome
from worker.stream import Stream, job, lost, result

AWAKE_METHODS = ("/SetFaults", "/GetFaults")

Context = grpc.aio.ServicerContext[Any, Any]


class WorkerService(worker_pb2_grpc.WorkerServicer):  # type: ignore[misc]
    """The methods of `protos/kofn/wire/worker.proto`.

    Args:
        name, device: told to masters.
        programs: what this worker holds.
        dispatcher: who runs tasks; told here whose streams an injected fault breaks.
        operations: what else is in hand, and breaks off with all streams.
    """

    def __init__(
        self,
        name: str,
        device: str,
        programs: Programs,
        dispatcher: Dispatcher,
        operations: Operations,
    ) -> None:
        self._name = name
        self._device = device
        self._programs = programs
        self._dispatcher = dispatcher
        self._operations = operations
        self._streams: set[Stream] = set()
        self._single: dict[object, asyncio.Future[Outcome]] = {}  # calls of Run, by job's owner
        dispatcher.on_disconnect = self._disconnect

    def drain(self) -> None:
        """Take no further task; streams end when their tasks in hand are done."""
        self._dispatcher.drain()
        for stream in self._streams:
            stream.drain()

    def abort(self, error: KofnError) -> None:
        """Break all streams."""
        for stream in list(self._streams):
            stream.abort(error)

    async def Work(self, messages: AsyncIterator[worker_pb2.ToWorker], context: Context) -> None:
        """One master's stream."""
        stream = Stream(self._programs, self._dispatcher)
        await context.write(worker_pb2.FromWorker(greeting=self._greeting()))
        self._streams.add(stream)
        if self._dispatcher.is_draining:
            stream.drain()
        try:
            await stream.serve(messages, context.write)
        finally:
            self._streams.discard(stream)

    async def Run(self, task: worker_pb2.Task, context: Context) -> worker_pb2.Result:
        """One task; an error is the call's status."""
        arrived_s = monotonic()
        program = await self._programs.obtain(task.program)
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        owner = object()

        def then(outcome: Outcome) -> None:
            if not ended.done():  # the caller may have given up in this very turn of the loop
                ended.set_result(outcome)

        submitted = job(task, (owner, task.id), owner, program, arrived_s, then)
        left_s = context.time_remaining()
        if left_s is not None:
            submitted.due_s = min(submitted.due_s, monotonic() + left_s)
        self._single[owner] = ended
        try:
            self._dispatcher.submit(submitted)
            outcome = await ended
            await self._dispatcher.awake.wait()
        finally:
            del self._single[owner]
            self._dispatcher.drop(owner)
        if outcome.error is not None:
            raise outcome.error
        return result(task.id, outcome, self._dispatcher)

    async def PushProgram(
        self, chunks: AsyncIterator[worker_pb2.ProgramChunk], context: Context
    ) -> worker_pb2.PushProgramReply:
        """A program, checked and loaded before the call returns; without data, one held already."""
        try:
            name, archive = await self._received(chunks)
        except KofnError:
            # A status that reaches a caller in the midst of its writing is lost on grpc.aio.
            unread = self._programs.max_bytes
            async for chunk in chunks:
                if (unread := unread - len(chunk.data)) < 0:
                    break
            raise
        if archive:
            await self._programs.take(name, archive)
        else:
            await self._programs.obtain(name)
        return worker_pb2.PushProgramReply(program=name)

    async def _received(self, chunks: AsyncIterator[worker_pb2.ProgramChunk]) -> tuple[str, bytes]:
        """The program's name and archive; raises KofnError at the first chunk that is refused."""
        name, archive = "", bytearray()
        async for chunk in chunks:
            if not name:
                name = chunk.program
                self._programs.vouch(name, chunk.signature)
            if not name:
                break
            if chunk.program not in ("", name):
                raise InvalidArgument("All chunks must be of one program.")
            archive += chunk.data
            self._programs.check_size(len(archive))
        if not name:
            raise InvalidArgument("The first chunk must have the program's content hash.")
        return name, bytes(archive)

    async def SetFaults(
        self, request: worker_pb2.SetFaultsRequest, context: Context
    ) -> worker_pb2.Faults:
        """Replace the faults; those before end."""
        try:
            self._dispatcher.set_faults(parse_faults(request.faults_json))
        except (SettingsError, ValueError) as error:
            raise InvalidArgument(str(error), "bad-faults") from error
        for stream in self._streams:
            stream.tell_faults()
        return self._faults()

    async def GetFaults(
        self, request: worker_pb2.GetFaultsRequest, context: Context
    ) -> worker_pb2.Faults:
        """The faults in force."""
        return self._faults()

    def _faults(self) -> worker_pb2.Faults:
        faults_json = self._dispatcher.faults.json_text()
        return worker_pb2.Faults(worker=self._name, faults_json=faults_json)

    def _greeting(self) -> worker_pb2.Greeting:
        return worker_pb2.Greeting(
            worker=self._name,
            device=self._device,
            programs=self._programs.names,
            process_id=os.getpid(),
            version=version("kofn"),
        )

    def _disconnect(self, owner: Hashable | None) -> None:
        """An injected fault breaks one stream, or all of them."""
        error = lost("The worker breaks this stream, as told.")
        if owner is None:
            self._operations.break_off()
        for stream in list(self._streams):
            if owner is None or owner is stream:
                stream.abort(error)
        for single, ended in self._single.items():
            if (owner is None or owner is single) and not ended.done():
                self._dispatcher.drop(single)
                ended.set_result(Outcome(error=error))


class Hang(ServerInterceptor):
    """Holds every new call while an injected hang lasts, but those that can end it."""

    def __init__(self, awake: asyncio.Event) -> None:
        self._awake = awake

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Hold the call, then let it go on."""
        if not str(handler_call_details.method).endswith(AWAKE_METHODS):
            await self._awake.wait()
        return await continuation(handler_call_details)
