"""Workers in this process, a small program for them to run, and a master's side of a stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from torch import nn

from kofn.wire import channels, worker_pb2, worker_pb2_grpc
from kofn.wire.tensors import to_wire
from models.programs import content_hash, export_program
from worker.config import WorkerConfig
from worker.server import WorkerServer

PATIENCE_S = 10.0


class Doubled(nn.Module):
    """Twice the input: [g, 3] -> [g, 3]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The program of these tests."""
        return x * 2.0


@dataclass(frozen=True)
class Archive:
    """A program's bytes and name."""

    data: bytes
    name: str


@pytest.fixture(scope="session")
def doubled() -> Archive:
    """The program that doubles."""
    data = export_program(Doubled(), torch.zeros(2, 3))
    return Archive(data, content_hash(data))


class Master:
    """A master's side: one channel, most often one stream."""

    def __init__(self, address: str, program: str) -> None:
        self.program = program
        self.channel = channels.worker_channel(address)
        self.stub: Any = worker_pb2_grpc.WorkerStub(self.channel)
        self.stream: Any = None  # the last one opened
        self.streams: list[Any] = []
        self.faults: list[list[str]] = []  # in force, each time that the worker told
        self.released: list[int] = []  # tasks without a result, as the worker told

    async def open(self) -> worker_pb2.Greeting:
        """Open the stream; gives the greeting."""
        self.stream = self.stub.Work()
        self.streams.append(self.stream)
        return (await self.read()).greeting

    async def read(self) -> worker_pb2.FromWorker:
        """The next message but for those of faults and released tasks, which are kept.

        It fails when none comes or the stream has ended.
        """
        while True:
            message = await asyncio.wait_for(self.stream.read(), PATIENCE_S)
            assert isinstance(message, worker_pb2.FromWorker), message
            match message.WhichOneof("message"):
                case "faults":
                    self.faults.append(list(message.faults.kinds))
                case "released":
                    self.released += message.released.ids
                case _:
                    return message

    async def results(self, count: int) -> dict[int, worker_pb2.Result]:
        """So many results, by id."""
        read = [(await self.read()).result for _ in range(count)]
        return {result.id: result for result in read}

    async def close(self) -> None:
        """Read every stream to its end, then close the channel; the worker has stopped before."""
        for stream in self.streams:
            if not stream.done():
                await self.ended(stream)
        await self.channel.close(None)

    async def ended(self, stream: Any = None) -> Any:
        """The status of the last or another stream, after whatever comes before its end."""
        stream = stream or self.stream
        with contextlib.suppress(grpc.aio.AioRpcError):  # its status is what is asked for
            async with asyncio.timeout(PATIENCE_S):
                while isinstance(message := await stream.read(), worker_pb2.FromWorker):
                    self.released += message.released.ids
        return await asyncio.wait_for(stream.code(), PATIENCE_S)

    def task(self, task_id: int, rows: int = 1, **fields: Any) -> worker_pb2.Task:
        """A task on rows of its own id."""
        shard = np.full((rows, 3), task_id, np.float32)
        fields = {"program": self.program, "inputs": [to_wire(shard)], **fields}
        return worker_pb2.Task(id=task_id, **fields)

    async def send(self, *tasks: worker_pb2.Task) -> None:
        """Write tasks."""
        for task in tasks:
            await self.stream.write(worker_pb2.ToWorker(task=task))

    async def cancel(self, *ids: int) -> None:
        """Write a cancellation."""
        await self.stream.write(worker_pb2.ToWorker(cancel=worker_pb2.Cancel(ids=ids)))

    async def push(
        self, data: bytes, name: str, chunk_bytes: int = 1 << 20, signature: bytes = b""
    ) -> None:
        """Push a program."""

        call = self.stub.PushProgram(timeout=PATIENCE_S)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # refused early
            for start in range(0, max(1, len(data)) if name else 0, chunk_bytes):
                part = data[start : start + chunk_bytes]
                first = {} if start else {"program": name, "signature": signature}
                chunk = worker_pb2.ProgramChunk(data=part, **first)
                await call.write(chunk)
            await call.done_writing()
        await call

    async def set_faults(self, text: str) -> str:
        """Set faults; gives what the worker says they are."""
        request = worker_pb2.SetFaultsRequest(faults_json=text)
        faults = await self.stub.SetFaults(request, timeout=PATIENCE_S)
        return str(faults.faults_json)

    async def run(self, task: worker_pb2.Task, timeout: float = PATIENCE_S) -> worker_pb2.Result:
        """A task as a plain call."""
        result: worker_pb2.Result = await self.stub.Run(task, timeout=timeout)
        return result


Start = Callable[..., Awaitable[WorkerServer]]
Connect = Callable[[str], Master]
Dial = Callable[[WorkerServer], Awaitable[Master]]


@pytest.fixture
async def connect(doubled: Archive) -> AsyncIterator[Connect]:
    """Connects a master to an address; pushes nothing and opens no stream."""
    masters: list[Master] = []

    def connected(address: str) -> Master:
        masters.append(Master(address, doubled.name))
        return masters[-1]

    yield connected
    for master in masters:
        await master.close()


@pytest.fixture
async def start(tmp_path: Path, connect: Connect) -> AsyncIterator[Start]:
    """Starts a worker with these settings; they are drained after the test.

    Masters outlive workers (hence `connect`), so that each call ends before its channel does.
    """
    async with AsyncExitStack() as stack:

        async def started(**settings: Any) -> WorkerServer:
            settings = {"name": "w", "cache": tmp_path / "cache", "drain_s": 0.2, **settings}
            config = WorkerConfig.model_validate({**settings, "port": settings.get("port", 0)})
            return await stack.enter_async_context(WorkerServer(config))

        yield started


@pytest.fixture
def dial(doubled: Archive, connect: Connect) -> Dial:
    """Connects a master to a worker, pushes the program, opens the stream."""

    async def dialled(server: WorkerServer) -> Master:
        master = connect(server.address)
        await master.push(doubled.data, doubled.name)
        await master.open()
        return master

    return dialled


@pytest.fixture
async def worker(start: Start) -> WorkerServer:
    """One worker, as configured by default."""
    return await start()


@pytest.fixture
async def master(dial: Dial, worker: WorkerServer) -> Master:
    """A master connected to `worker`."""
    return await dial(worker)
