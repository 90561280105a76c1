"""A small real server of both services, and the two clients behind one asynchronous face."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, closing
from typing import Any

import numpy as np
import pytest

import kofn
from kofn.wire import (
    channels,
    control_pb2,
    control_pb2_grpc,
    inference_pb2_grpc,
)
from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import KofnError, NotFound
from kofn.wire.serving import ErrorInterceptor
from kofn.wire.tensors import input_array, output_tensor
from support.until import until

SOURCES = np.array([1, 2, 0], np.uint8)  # of rows 0, 1, 2, 0, 1, ...
QUICK = kofn.Retry(attempts=4, first_pause_s=0.01, longest_pause_s=0.02)


class Inference(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Doubles what it is sent; fails, waits and garbles as a test says."""

    def __init__(self) -> None:
        self.requests: list[pb.ModelInferRequest] = []  # of ModelInfer, each as it came
        self.left_s: list[float | None] = []  # until each one's deadline
        self.asked = 0  # for metadata
        self.failures: list[KofnError] = []  # of the next requests for answers, one each
        self.silences: list[KofnError] = []  # of the next questions, one each
        self.gate = asyncio.Event()  # closed: ModelInfer waits, after the first `passing` calls
        self.gate.set()
        self.passing = 0
        self.waiting = asyncio.Semaphore(0)  # released whenever a call waits at the gate
        self.cancelled = asyncio.Event()  # a call that waited at the gate was
        self.stream_ended = asyncio.Event()
        self.garble: Callable[[pb.ModelInferResponse], None] = lambda reply: None
        self.answer_name = "logits"
        self.in_flight = self.most_in_flight = 0

    async def ServerLive(self, request: Any, context: Any) -> pb.ServerLiveResponse:
        self._fall_silent()
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=False)

    async def ModelReady(self, request: Any, context: Any) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=request.name == "double")

    async def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="kofn", version="9", extensions=["statistics"])

    async def ModelMetadata(self, request: Any, context: Any) -> pb.ModelMetadataResponse:
        self.asked += 1
        self._fall_silent()
        if request.name != "double":
            raise NotFound(f"There is no model {request.name!r} here.")
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name="double",
            inputs=[tensor(name="pixels", datatype="FP32", shape=[-1, 2])],
            outputs=[tensor(name=self.answer_name, datatype="FP32", shape=[-1, 2])],
        )

    async def ModelConfig(self, request: Any, context: Any) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=pb.ModelConfig(name=request.name, max_batch_size=7))

    async def ModelStatistics(self, request: Any, context: Any) -> pb.ModelStatisticsResponse:
        names = [request.name] if request.name else ["a", "b"]
        stats = [pb.ModelStatistics(name=name, inference_count=3) for name in names]
        return pb.ModelStatisticsResponse(model_stats=stats)

    async def ModelInfer(self, request: Any, context: Any) -> pb.ModelInferResponse:
        self.requests.append(request)
        self.left_s.append(context.time_remaining())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if len(self.requests) > self.passing:
                await self._pass_gate()
            self._fail()
            return self._double(request)
        finally:
            self.in_flight -= 1

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answers pairs of requests in the opposite order."""
        held: list[pb.ModelInferRequest] = []
        try:
            async for request in requests:
                self.requests.append(request)
                held.append(request)
                if len(held) == 2:
                    for item in reversed(held):
                        yield self._streamed(item)
                    held.clear()
            for item in held:
                yield self._streamed(item)
            await self._pass_gate()
        finally:
            self.stream_ended.set()

    def _streamed(self, request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        try:
            self._fail()
        except KofnError as error:
            empty = pb.ModelInferResponse(id=request.id)
            text = f"{error.status.name}: {error}"
            return pb.ModelStreamInferResponse(error_message=text, infer_response=empty)
        return pb.ModelStreamInferResponse(infer_response=self._double(request))

    async def _pass_gate(self) -> None:
        self.waiting.release()
        try:
            await asyncio.wait_for(self.gate.wait(), 20)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def _fall_silent(self) -> None:
        if self.silences:
            raise self.silences.pop(0)

    def _double(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        rows = input_array(request.inputs[0], request.raw_input_contents[0]).astype(np.float32)
        arrays = {
            self.answer_name: 2 * rows,
            "source": np.resize(SOURCES, len(rows)),
            "expected_error": np.full(len(rows), np.nan, np.float32),
        }
        reply = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        for wanted in request.outputs:
            tensor, raw = output_tensor(wanted.name, arrays[wanted.name])
            reply.outputs.append(tensor)
            reply.raw_output_contents.append(raw)
        reply.parameters["responders"].string_param = "0,1,3;2"
        reply.parameters["slots"].string_param = "3/6;1/6"
        for number, stage in enumerate(("queue", "encode", "wait", "decode"), 1):
            reply.parameters[f"{stage}_us"].int64_param = 1000 * number
        self.garble(reply)
        return reply


class Control(control_pb2_grpc.ControlServicer):
    """Tells back what it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures: list[KofnError] = []
        self.watchers_gone = asyncio.Event()

    async def GetStatus(self, request: Any, context: Any) -> control_pb2.Status:
        self._count()
        return control_pb2.Status(version="9", workers=[control_pb2.WorkerStatus(name="worker-0")])

    async def SetFaults(self, request: Any, context: Any) -> control_pb2.FaultsReply:
        self._count()
        return self._faults(request.workers, request.faults_json)

    async def GetFaults(self, request: Any, context: Any) -> control_pb2.FaultsReply:
        return self._faults(request.workers, "{}")

    async def Deploy(self, request: Any, context: Any) -> control_pb2.DeploymentStatus:
        self._count()
        return control_pb2.DeploymentStatus(name=request.deployment_yaml, ready=True)

    async def Undeploy(self, request: Any, context: Any) -> control_pb2.UndeployReply:
        raise NotFound(f"There is no deployment {request.name!r}.")

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[control_pb2.Event]:
        try:
            for number in range(3):
                yield control_pb2.Event(kind="worker-up", subject=f"worker-{number}")
            await asyncio.wait_for(asyncio.Event().wait(), 20)
        finally:
            self.watchers_gone.set()

    def _count(self) -> None:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)

    def _faults(self, workers: Any, faults: str) -> control_pb2.FaultsReply:
        return control_pb2.FaultsReply(
            workers=[
                control_pb2.WorkerFaults(worker=name, faults_json=faults)
                for name in workers or ["all"]
            ]
        )


class Master:
    """Both services, listening."""

    def __init__(self) -> None:
        self.inference = Inference()
        self.control = Control()
        self.address = ""
        self._server = channels.server([ErrorInterceptor()])

    async def start(self, address: str = "127.0.0.1:0") -> None:
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self.inference, self._server)
        control_pb2_grpc.add_ControlServicer_to_server(self.control, self._server)
        self.address = f"127.0.0.1:{channels.listen(self._server, address)}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)


@pytest.fixture
async def start_master() -> AsyncIterator[Callable[..., Awaitable[Master]]]:
    """Starts masters, at an address or a free one; stops them in the end, calls and all."""
    before = asyncio.all_tasks()
    started: list[Master] = []

    async def start(address: str = "127.0.0.1:0") -> Master:
        master = Master()
        await master.start(address)
        started.append(master)
        return master

    yield start
    for master in started:
        await master.stop()
    await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})


@pytest.fixture
async def master(start_master: Callable[..., Awaitable[Master]]) -> Master:
    return await start_master()


class Asking:
    """One of the two clients; the blocking one is called in a thread."""

    def __init__(self, client: kofn.Client | kofn.AsyncClient) -> None:
        self.client = client
        self.is_blocking = isinstance(client, kofn.Client)

    async def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method returns."""
        function = getattr(self.client, method)
        if self.is_blocking:
            return await asyncio.to_thread(function, *arguments, **options)
        return await function(*arguments, **options)

    async def each(
        self,
        method: str,
        *arguments: Any,
        most: float = math.inf,
        tell: Callable[[Any], Any] = lambda item: None,
        **options: Any,
    ) -> list[Any]:
        """What a method yields, or its first `most`; then the generator is closed."""
        items = getattr(self.client, method)(*arguments, **options)
        taken: list[Any] = []

        async def take() -> None:
            async with aclosing(items):
                async for item in items:
                    taken.append(item)
                    tell(item)
                    if len(taken) >= most:
                        break

        def take_blocking() -> None:
            with closing(items):
                for item in items:
                    taken.append(item)
                    tell(item)
                    if len(taken) >= most:
                        break

        await (asyncio.to_thread(take_blocking) if self.is_blocking else take())
        return taken


@pytest.fixture(params=["aio", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def connect(kind: str) -> Callable[..., Asking]:
    """Makes a client of the kind under test; the caller closes it."""

    def make(target: str, **options: Any) -> Asking:
        options = {"retry": QUICK, "timeout_s": 10.0} | options
        made = kofn.AsyncClient if kind == "aio" else kofn.Client
        return Asking(made(target, **options))

    return make


@pytest.fixture
async def ask(master: Master, connect: Callable[..., Asking]) -> AsyncIterator[Asking]:
    """A client of `master`."""
    asking = connect(master.address)
    try:
        yield asking
    finally:
        await asking("close")
