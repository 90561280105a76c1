"""A worker that does what a test tells it: reply, hold, fail, break off, reply twice, garbage."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from kofn.wire import channels, worker_pb2, worker_pb2_grpc
from kofn.wire.tensors import from_wire, to_wire

PROGRAM = "a" * 64
Function = Callable[[np.ndarray], np.ndarray]


def doubled(shard: np.ndarray) -> np.ndarray:
    """The program that these workers run: twice the sum of each query, twice over."""
    sums = shard.reshape(len(shard), -1).sum(axis=1, keepdims=True)
    return np.concatenate([2 * sums, -sums], axis=1).astype(np.float32)


@dataclass
class ScriptedWorker(worker_pb2_grpc.WorkerServicer):
    """One worker; `script` is asked what to do with each task, by the task's number."""

    name: str
    function: Function = doubled
    script: Callable[[int], str] = lambda number: "reply"
    programs: list[str] = field(default_factory=lambda: [PROGRAM])
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # held tasks go on when it is set
    tasks: list[worker_pb2.Task] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    ignored: set[int] = field(default_factory=set)  # tasks that nothing was said of
    faults_json: str = ""
    pushed: bytes = b""
    refusals: int = 0  # of the next pushes
    address: str = ""
    is_mute: bool = False  # whoever connects is hung up on

    async def Work(
        self,
        messages: AsyncIterator[worker_pb2.ToWorker],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> AsyncIterator[worker_pb2.FromWorker]:
        """One stream, replies in the order in which the script lets them go."""
        if self.is_mute:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        yield worker_pb2.FromWorker(
            greeting=worker_pb2.Greeting(worker=self.name, device="test", programs=self.programs)
        )
        ready: asyncio.Queue[worker_pb2.FromWorker | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read(messages, ready))
        try:
            while (message := await ready.get()) is not None:
                yield message
        finally:
            reading.cancel()

    async def PushProgram(
        self,
        chunks: AsyncIterator[worker_pb2.ProgramChunk],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> worker_pb2.PushProgramReply:
        """Take any archive."""
        program = ""
        async for chunk in chunks:
            program = program or chunk.program
            self.pushed += chunk.data
        if self.refusals:
            self.refusals -= 1
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too slow")
        if not self.pushed and program not in self.programs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such program")
        return worker_pb2.PushProgramReply(program=program)

    async def SetFaults(
        self, request: worker_pb2.SetFaultsRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> worker_pb2.Faults:
        """Remember them."""
        if "bad" in request.faults_json:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "faults.delay: unknown law")
        self.faults_json = request.faults_json
        return worker_pb2.Faults(worker=self.name, faults_json=self.faults_json)

    async def GetFaults(
        self, request: worker_pb2.GetFaultsRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> worker_pb2.Faults:
        """Tell them."""
        return worker_pb2.Faults(worker=self.name, faults_json=self.faults_json)

    async def _read(
        self,
        messages: AsyncIterator[worker_pb2.ToWorker],
        ready: "asyncio.Queue[worker_pb2.FromWorker | None]",
    ) -> None:
        async with asyncio.TaskGroup() as held:
            async for message in messages:
                if message.HasField("cancel"):
                    self.cancelled += message.cancel.ids
                    released = worker_pb2.Released(
                        ids=self.ignored.intersection(message.cancel.ids)
                    )
                    self.ignored.difference_update(released.ids)
                    ready.put_nowait(worker_pb2.FromWorker(released=released))
                    continue
                task = message.task
                number = len(self.tasks)
                self.tasks.append(task)
                match self.script(number):
                    case "reply":
                        ready.put_nowait(self._answered(task))
                    case "twice":
                        ready.put_nowait(self._answered(task))
                        ready.put_nowait(self._answered(task))
                    case "hold":
                        held.create_task(self._when_open(task, ready))
                    case "fail":
                        result = worker_pb2.Result(id=task.id, code=13, reason="as told")
                        ready.put_nowait(worker_pb2.FromWorker(result=result))
                    case "garbage":
                        broken = worker_pb2.Tensor(datatype="FP32", shape=[3], data=b"12")
                        result = worker_pb2.Result(
                            id=task.id, outputs=[broken], program=task.program
                        )
                        ready.put_nowait(worker_pb2.FromWorker(result=result))
                    case "nan":
                        shape = (task.inputs[0].shape[0], 2)
                        nans = to_wire(np.full(shape, np.nan, np.float32))
                        result = worker_pb2.Result(id=task.id, outputs=[nans], program=task.program)
                        ready.put_nowait(worker_pb2.FromWorker(result=result))
                    case "mistaken":  # as if it had run another generation
                        other = self._answered(task)
                        other.result.program = "b" * 64
                        ready.put_nowait(other)
                    case "forget":
                        self.programs = []
                        result = worker_pb2.Result(id=task.id, code=5, reason="no such program")
                        ready.put_nowait(worker_pb2.FromWorker(result=result))
                    case "drain":
                        drain = worker_pb2.FromWorker(draining=worker_pb2.Draining())
                        ready.put_nowait(drain)
                        ready.put_nowait(self._answered(task))
                    case "break":
                        ready.put_nowait(None)
                    case "drop":
                        released = worker_pb2.Released(ids=[task.id])
                        ready.put_nowait(worker_pb2.FromWorker(released=released))
                    case "ignore":
                        self.ignored.add(task.id)
                    case other:
                        raise ValueError(f"no such act: {other}")

    async def _when_open(
        self, task: worker_pb2.Task, ready: "asyncio.Queue[worker_pb2.FromWorker | None]"
    ) -> None:
        await self.gate.wait()
        ready.put_nowait(self._answered(task))

    def _answered(self, task: worker_pb2.Task) -> worker_pb2.FromWorker:
        output = to_wire(self.function(from_wire(task.inputs[0])))
        result = worker_pb2.Result(id=task.id, outputs=[output], compute_us=7, program=task.program)
        return worker_pb2.FromWorker(result=result)


@asynccontextmanager
async def scripted_workers(*workers: ScriptedWorker) -> AsyncIterator[list[str]]:
    """Serve them on free ports; gives their addresses."""
    servers = []
    try:
        for worker in workers:
            server = channels.server()
            worker_pb2_grpc.add_WorkerServicer_to_server(worker, server)
            worker.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            servers.append(server)
        yield [worker.address for worker in workers]
    finally:
        for worker in workers:
            worker.gate.set()
        for server in servers:
            await server.stop(None)
