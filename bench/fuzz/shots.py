"""What is fired at which method: good messages of every method of master and worker, mutated."""

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, NamedTuple

import grpc
import numpy as np
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from bench.fuzz.mutate import mutated, noise, spoiled
from kofn.wire import control_pb2, inference_pb2, matrices_pb2, worker_pb2
from kofn.wire.errors import REASON_KEY
from kofn.wire.matrices import head_of
from kofn.wire.tensors import input_tensor, to_wire

PATIENCE_S = 20.0  # longer than any reply may take: past it, something hangs
LISTENING_S = 0.2  # to what has no end of its own
AT_ONCE = 8  # calls
MOST_REPLIES = 200  # read of one call
MOST_MESSAGES = 6  # sent on one stream
# What grpc.aio says where a server ended a stream while this side was writing: its own words, in
# place of the server's status.
LOST_STATUS = "Internal error from Core"
ENDLESS = ("WatchEvents", "Watch")

INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
CONTROL = control_pb2.DESCRIPTOR.services_by_name["Control"]
WORKER = worker_pb2.DESCRIPTOR.services_by_name["Worker"]
MATRICES = matrices_pb2.DESCRIPTOR.services_by_name["Matrices"]
PRODUCTS = matrices_pb2.DESCRIPTOR.services_by_name["Products"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
_SHARES = {
    "ModelInfer": 30, "ModelStreamInfer": 6, "Work": 6, "Run": 6, "PushProgram": 3, "Watch": 0.2,
    "WatchEvents": 0.2,
}  # fmt: skip # of others 1

# A refusal has one of these. INTERNAL and UNKNOWN are bugs; UNAVAILABLE needs a reason of ours.
REFUSALS = frozenset({
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
})  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A model that is served, and its program.

    Attributes:
        model: its name.
        input: name of its input.
        shape: of a query.
        program: content hash.
        archive: the program's bytes.
    """

    model: str
    input: str
    shape: tuple[int, ...]
    program: str
    archive: bytes

    def request(self, rows: "np.ndarray[Any, Any]") -> inference_pb2.ModelInferRequest:
        """A good request."""
        tensor, raw = input_tensor(self.input, rows)
        return inference_pb2.ModelInferRequest(
            model_name=self.model, inputs=[tensor], raw_input_contents=[raw]
        )


@dataclass(frozen=True)
class Shot:
    """One call: where to, and the bytes of its messages."""

    service: Literal["master", "worker"]
    path: str
    messages: tuple[bytes, ...]

    @property
    def is_endless(self) -> bool:
        """Replies go on until the caller hangs up."""
        return self.path.rpartition("/")[2] in ENDLESS


def shots(target: Target, seed: int) -> Iterator[Shot]:
    """An endless sequence of calls, the same for a seed."""
    rng = random.Random(seed)
    good = _good_messages(target)
    places = [
        (service, method)
        for service, served in (
            ("master", (INFERENCE, PRODUCTS, CONTROL, HEALTH, REFLECTION)),
            ("worker", (WORKER, MATRICES, HEALTH, REFLECTION)),
        )
        for described in served
        for method in described.methods
    ]
    weights = [_SHARES.get(method.name, 1) for _, method in places]
    while True:
        ((service, method),) = rng.choices(places, weights)
        path = f"/{method.containing_service.full_name}/{method.name}"
        yield Shot(service, path, tuple(_messages(method, good, rng)))  # type: ignore[arg-type]


def _messages(
    method: MethodDescriptor, good: Mapping[str, Sequence[Message]], rng: random.Random
) -> Iterator[bytes]:
    usual = good.get(method.name) or [GetMessageClass(method.input_type)()]
    count = 1  # a single message that never comes is waited for as long as its caller likes
    if method.client_streaming:
        count = rng.randint(0, MOST_MESSAGES) if len(usual) == 1 else len(usual)
    for number in range(count):
        message = usual[number % len(usual)]
        match rng.choices(("whole", "fields", "bytes", "noise"), (1, 5, 2, 1))[0]:
            case "whole":
                yield message.SerializeToString()
            case "fields":
                yield mutated(message, rng)
            case "bytes":
                yield spoiled(message.SerializeToString(), rng)
            case _:
                yield noise(rng)


def _good_messages(target: Target) -> dict[str, list[Message]]:
    """Of methods whose empty message says little; the parts of a stream in their order.

    None of them does lasting harm: what they deploy, undeploy and inject is nothing or is undone.
    """
    rows = np.zeros((2, *target.shape), np.float32)
    request = target.request(rows)
    request.parameters["wait"].string_param = "soft"
    request.outputs.add(name="source")
    task = worker_pb2.Task(id=1, program=target.program, inputs=[to_wire(rows)], deadline_ms=2000)
    third = len(target.archive) // 3
    parts = (target.archive[:third], target.archive[third : 2 * third], target.archive[2 * third :])
    first = worker_pb2.ProgramChunk(program=target.program, data=parts[0])
    faults = '{"corruption": {"law": "sign-flip"}}'
    named = {
        name: [GetMessageClass(INFERENCE.methods_by_name[name].input_type)(name=target.model)]
        for name in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")
    }
    return {
        **named,
        **_about_matrices(),
        "ModelInfer": [request],
        "ModelStreamInfer": [request],
        "Deploy": [
            control_pb2.DeployRequest(
                deployment_yaml="{name: other, program: nowhere, code: {name: parity, k: 2, n: 3}}"
            )
        ],
        "Undeploy": [control_pb2.UndeployRequest(name="nobody")],
        "SetFaults": [control_pb2.SetFaultsRequest(faults_json=faults)],
        "Run": [task],
        "Work": [worker_pb2.ToWorker(task=task)],
        "PushProgram": [first, *(worker_pb2.ProgramChunk(data=part) for part in parts[1:])],
        "Check": [health_pb2.HealthCheckRequest(service=target.model)],
        "ServerReflectionInfo": [reflection_pb2.ServerReflectionRequest(list_services="*")],
    }


def _about_matrices() -> dict[str, list[Message]]:
    """Of matrices: small ones."""
    numbers = np.ones((2, 2))
    head, ref = head_of(numbers), matrices_pb2.MatrixRef(name="fuzzed")
    held, sent = matrices_pb2.Operand(held=ref), matrices_pb2.Operand(sent=head)
    data = numbers.tobytes()
    update = matrices_pb2.UpdateRequest(name="fuzzed", step=1, outputs=head, inputs=head, rate=0.1)
    return {
        "Put": [
            matrices_pb2.PutMessage(put=matrices_pb2.PutMatrix(matrix=ref, head=head)),
            matrices_pb2.PutMessage(data=data),
        ],
        "Get": [matrices_pb2.GetMatrixRequest(matrix=ref)],
        "Drop": [matrices_pb2.DropRequest(names=["nothing"])],
        "Multiply": [
            matrices_pb2.MultiplyMessage(
                multiply=matrices_pb2.MultiplyRequest(left=held, right=sent)
            ),
            matrices_pb2.MultiplyMessage(data=data),
        ],
        "Update": [
            matrices_pb2.UpdateMessage(update=update),
            matrices_pb2.UpdateMessage(data=2 * data),
        ],
        "Matmul": [
            matrices_pb2.MatmulRequest(wish=matrices_pb2.MatmulWish(a=head, b=head, spares=1)),
            matrices_pb2.MatmulRequest(data=2 * data),
        ],
        "Sketch": [matrices_pb2.SketchRequest(matrix=ref, columns=2)],
    }


class Outcome(NamedTuple):
    """How a call ended."""

    status: str
    wrong: str | None  # what is wrong with it


async def fire(channel: grpc.aio.Channel, shot: Shot) -> Outcome:
    """Make the call and read its replies."""
    began = monotonic()
    limit_s = LISTENING_S if shot.is_endless else PATIENCE_S
    call: Any = channel.stream_stream(shot.path, bytes, bytes)(iter(shot.messages), timeout=limit_s)
    replies = 0
    try:
        async for _ in call:
            replies += 1
            if replies >= MOST_REPLIES:
                break
    except grpc.aio.AioRpcError as error:
        if error.details() == LOST_STATUS and len(shot.messages) > 1:
            return Outcome("a status that was lost", None)
        return Outcome(error.code().name, _wrong(error, shot, monotonic() - began))
    finally:
        call.cancel()
    return Outcome("OK", None)


async def volley(channels: Mapping[str, grpc.aio.Channel], aimed: Iterable[Shot]) -> list[Outcome]:
    """Fire some calls, a few at a time; returns when all have ended."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(shot: Shot) -> Outcome:
        async with places:
            return await fire(channels[shot.service], shot)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(shot)) for shot in aimed]
    return [task.result() for task in tasks]


def _wrong(error: grpc.aio.AioRpcError, shot: Shot, took_s: float) -> str | None:
    status = error.code()
    told = f"{shot.path}: {status.name}: {error.details()}"
    if (
        status is grpc.StatusCode.DEADLINE_EXCEEDED
        and not shot.is_endless
        and took_s > 0.9 * PATIENCE_S
    ):
        return f"{told} (hangs)"
    trailing: Any = error.trailing_metadata() or ()
    has_reason = any(key == REASON_KEY for key, _ in trailing)
    if status in REFUSALS or (status is grpc.StatusCode.UNAVAILABLE and has_reason):
        return None
    return told
