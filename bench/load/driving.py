"""Sends requests at their times and waits for what becomes of each.

Open loop: a request leaves at its time whatever became of those before, and latency counts from
that time, so that a client that falls behind does not hide delay (coordinated omission). How far it
fell behind is told. The load is bounded: a request ends by its deadline.

While it sends it does as little as it can: requests of one query are serialized up front, replies
are parsed afterwards. `process` does it in a process of its own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

import kofn
from bench.load.seen import Seen
from kofn.client.calls import REPLY_MOST_S, REPLY_SHARE
from kofn.client.messages import Names, infer_request, names_of, parse_answers
from kofn.wire import channels
from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import KofnError, from_rpc_error
from kofn.wire.tls import Tls

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CONNECT_S = 10.0
MARGIN_S = 0.5  # a server that answers at the deadline is not cut off by the client's own

Reply = bytes | KofnError


@dataclass(frozen=True)
class Server:
    """Who is asked: a master, or what speaks the Open Inference Protocol with its extra outputs.

    Attributes:
        target: "host:port".
        model: a deployment of its.
        deadline_s: of a request, from when it is sent; what is there then is taken.
        tls: certificates; None is plain text.
        parameters: of every request, beside the deadline.
    """

    target: str
    model: str
    deadline_s: float
    tls: Tls | None = None
    parameters: Mapping[str, bool | int | str] = field(default_factory=dict)


class Driver:
    """A connection to a server, warm; `async with` closes it.

    Args:
        server: who is asked.
        images: [m, *query] float32.

    Raises (on entry):
        KofnError: the server cannot be reached, or has no such model.
    """

    def __init__(self, server: Server, images: npt.NDArray[np.float32]) -> None:
        self._server = server
        self._images = images
        self._names: Names
        self._channel: grpc.aio.Channel
        self._infer: Callable[..., Any]
        self._one: dict[int, bytes] = {}  # requests of one query, by its image

    async def __aenter__(self) -> "Driver":
        target, tls = self._server.target, self._server.tls
        async with kofn.AsyncClient(target, tls=tls) as client:
            metadata = await client.metadata(self._server.model, timeout_s=CONNECT_S)
        self._names = names_of(metadata)
        self._channel = channels.client_channel(target, tls)
        self._infer = self._channel.unary_unary(METHOD, None, None)  # bytes in, bytes out
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._channel.channel_ready()
        except TimeoutError:
            await self._channel.close(None)
            raise kofn.Unavailable(f"{target} cannot be reached") from None
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._channel.close(None)

    def prepare(self, requests: npt.NDArray[np.int64]) -> None:
        """Serialize what can be: requests of one query each, of [m, 1]."""
        if requests.shape[1] == 1:
            for row in np.unique(requests):
                if int(row) not in self._one:
                    self._one[int(row)] = self._request([int(row)])

    async def run(
        self,
        requests: npt.NDArray[np.int64],
        times: npt.NDArray[np.float64],
        on_end: Callable[[], None] = lambda: None,
    ) -> Seen:
        """Send one request at each time; returns when all have ended.

        Args:
            requests: [m, r], which images each request holds.
            times: [m] seconds from now, in order.
            on_end: called as each ends.
        """
        began = monotonic()
        sent, ended = np.zeros(len(times)), np.zeros(len(times))
        replies: list[Reply] = [b""] * len(times)
        patience_s = self._server.deadline_s + MARGIN_S

        async def one(number: int) -> None:
            request = self._of(requests[number])
            sent[number] = monotonic() - began
            try:
                replies[number] = await self._infer(request, timeout=patience_s)
            except grpc.aio.AioRpcError as error:
                replies[number] = from_rpc_error(error)
            ended[number] = monotonic() - began
            on_end()

        async with asyncio.TaskGroup() as group:
            for number, at_s in enumerate(times.tolist()):
                # Also when it is late already: what has come meanwhile must be taken.
                await asyncio.sleep(max(0.0, began + at_s - monotonic()))
                group.create_task(one(number), name=f"request {number}")
        return self._seen(requests, sent - times, ended - times, replies)

    def _of(self, rows: npt.NDArray[np.int64]) -> bytes:
        ready = self._one.get(int(rows[0])) if len(rows) == 1 else None
        return self._request(rows.tolist()) if ready is None else ready

    def _request(self, rows: Sequence[int]) -> bytes:
        deadline_s = self._server.deadline_s
        own_s = deadline_s - min(REPLY_SHARE * deadline_s, REPLY_MOST_S)  # as kofn's own clients
        said = {"allow_partial": True, "timeout_ms": max(1, int(1e3 * own_s))}
        request = infer_request(
            self._server.model,
            self._names,
            self._images[rows],
            parameters={**said, **self._server.parameters},
        )
        serialized: bytes = request.SerializeToString()
        return serialized

    def _seen(
        self,
        requests: npt.NDArray[np.int64],
        late_s: npt.NDArray[np.float64],
        latency_s: npt.NDArray[np.float64],
        replies: Sequence[Reply],
    ) -> Seen:
        answers: dict[int, kofn.Answers] = {}
        errors: dict[int, str] = {}
        for number, reply in enumerate(replies):
            try:
                if isinstance(reply, KofnError):
                    raise reply
                message = pb.ModelInferResponse.FromString(reply)
                answers[number] = parse_answers(message, self._names, requests.shape[1], 0.0)
            except KofnError as error:
                errors[number] = f"{error.status.name}: {error}"
        some = next(iter(answers.values()), None)
        width = some.outputs.shape[1:] if some is not None else (1,)
        source = np.zeros(requests.shape, np.uint8)
        outputs = np.zeros((*requests.shape, *width), np.float32)
        responders = np.full(len(requests), np.nan)
        for number, answer in answers.items():
            source[number], outputs[number] = answer.source, answer.outputs
            if answer.responders:
                responders[number] = np.mean([len(slots) for slots in answer.responders])
        return Seen(requests, late_s, latency_s, source, outputs, responders, errors)


async def drive(
    server: Server,
    images: npt.NDArray[np.float32],
    requests: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
    on_end: Callable[[], None] = lambda: None,
) -> Seen:
    """Load from this process; arguments as of `Driver`. It may do nothing else meanwhile."""
    async with Driver(server, images) as driver:
        driver.prepare(requests)
        return await driver.run(requests, times, on_end)
