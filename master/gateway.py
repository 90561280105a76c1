"""The client-facing edge: the Open Inference Protocol v2 in, the deployments' requests out.

Turns messages into requests and answers into tensors. Nothing here knows a code. Unknown models
are NOT_FOUND, malformed input is INVALID_ARGUMENT and says what is accepted.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import numpy as np

from kofn.wire import inference_pb2 as pb
from kofn.wire import inference_pb2_grpc
from kofn.wire.errors import KofnError, NotFound
from kofn.wire.source import Source
from kofn.wire.tensors import output_tensor
from master import describe
from master.callers import REQUEST_ID, Callers, ascii_only, metadata_of
from master.config import EXPECTED_ERROR, SOURCE
from master.deployment import Deployment
from master.parsing import parse_rows, parse_wishes, requested_outputs
from master.query import Caller, Request
from master.state import State

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
STREAM_LIMIT = 64  # requests of one stream in hand; the stream is not read past them

Context = grpc.aio.ServicerContext[Any, Any]


class Gateway(inference_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The inference service over the deployments of `state`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._callers = Callers(state.tracer)

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Context
    ) -> pb.ServerLiveResponse:
        """The process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Context
    ) -> pb.ServerReadyResponse:
        """Requests are accepted: not while draining."""
        return pb.ServerReadyResponse(ready=self._state.is_ready)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        """The model is known and has a worker; unknown ones are simply not ready."""
        deployment = self._state.deployments.get(request.name)
        right_version = request.version in ("", describe.VERSION)
        ready = deployment is not None and right_version and deployment.is_ready
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Name, version, extensions."""
        return describe.server_metadata()

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Inputs and outputs of a model."""
        return describe.model_metadata(self._deployment(request.name, request.version))

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: Context
    ) -> pb.ModelConfigResponse:
        """Triton's model configuration."""
        return describe.model_config(self._deployment(request.name, request.version))

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """Counters of one model, or of all when no name is given."""
        if request.name:
            chosen = [self._deployment(request.name, request.version)]
        else:
            chosen = list(self._state.deployments.values())
        return pb.ModelStatisticsResponse(
            model_stats=[describe.model_statistics(item) for item in chosen]
        )

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Answer one request."""
        told = metadata_of(context)
        with self._callers.caller(request, told, f"{SERVICE}/ModelInfer") as caller:
            context.set_trailing_metadata(((REQUEST_ID, ascii_only(caller.request_id)),))
            return await self._infer(request, context.time_remaining(), caller)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer a stream of requests, each as soon as it is ready; an error ends only its own."""
        ready: asyncio.Queue[pb.ModelStreamInferResponse | KofnError | None] = asyncio.Queue()
        places = asyncio.Semaphore(STREAM_LIMIT)
        told = metadata_of(context)

        async def answer(request: pb.ModelInferRequest) -> None:
            try:
                with self._callers.caller(request, told, f"{SERVICE}/ModelStreamInfer") as caller:
                    answers = await self._infer(request, None, caller)
                reply = pb.ModelStreamInferResponse(infer_response=answers)
            except KofnError as error:
                reply = pb.ModelStreamInferResponse(
                    error_message=f"{error.status.name}: {error}",
                    infer_response=pb.ModelInferResponse(
                        id=request.id, model_name=request.model_name
                    ),
                )
            await ready.put(reply)

        async def read() -> None:
            end: KofnError | None = None
            async with asyncio.TaskGroup() as answering:
                try:
                    async for request in requests:
                        await places.acquire()
                        answering.create_task(answer(request))
                except KofnError as error:  # bytes that are no request: answered are those before
                    end = error
            await ready.put(end)

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            try:
                while isinstance(reply := await ready.get(), pb.ModelStreamInferResponse):
                    yield reply
                    places.release()  # here: replies that nobody reads hold further requests back
            finally:
                reading.cancel()
        if reply is not None:
            raise reply

    def _deployment(self, name: str, version: str) -> Deployment:
        deployment = self._state.deployment(name)
        if version not in ("", describe.VERSION):
            raise NotFound(
                f"Model {name!r} has no version {version!r}; served: {describe.VERSION}."
            )
        return deployment

    async def _infer(
        self, message: pb.ModelInferRequest, left_s: float | None, caller: Caller
    ) -> pb.ModelInferResponse:
        deployment = self._deployment(message.model_name, message.model_version)
        outputs = requested_outputs(message, deployment)
        wishes, policy = parse_wishes(message.parameters, deployment, left_s, outputs)
        rows = parse_rows(message, deployment)
        answered = await deployment.infer(rows, wishes, policy, caller)
        return _reply(message, deployment, answered, outputs)


def _reply(
    message: pb.ModelInferRequest,
    deployment: Deployment,
    answered: Request,
    outputs: Sequence[str],
) -> pb.ModelInferResponse:
    arrays: dict[str, np.ndarray] = {
        SOURCE: answered.source,
        EXPECTED_ERROR: answered.expected_error,
    }
    if answered.wishes.models is None:
        arrays[deployment.outputs[0]] = answered.outputs
    else:
        for column, model in enumerate(answered.wishes.models):
            arrays[deployment.outputs[model]] = np.ascontiguousarray(answered.outputs[:, column])
    reply = pb.ModelInferResponse(
        model_name=deployment.config.name, model_version=describe.VERSION, id=message.id
    )
    for name in outputs:
        tensor, raw = output_tensor(name, arrays[name])
        reply.outputs.append(tensor)
        reply.raw_output_contents.append(raw)
    # Kinds 1-3 only: some published clients know no other parameter kinds.
    n = deployment.binding.code.n
    came = answered.responders.values()
    timings, parameters = answered.timings, reply.parameters
    parameters["responders"].string_param = ";".join(",".join(map(str, s)) for s in came)
    parameters["slots"].string_param = ";".join(f"{len(s)}/{n}" for s in came)
    parameters["missing_rows"].int64_param = int((answered.source == Source.MISSING).sum())
    for stage in ("queue", "encode", "wait", "decode"):
        seconds: float = getattr(timings, f"{stage}_s")
        parameters[f"{stage}_us"].int64_param = round(1e6 * seconds)
    return reply
