"""The asynchronous client: the calls of `calls.py` on `grpc.aio`.

One object is one connection to one master (or to the addresses behind one name). It holds no
thread and no task of its own; cancelling a call reaches the workers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import numpy.typing as npt

from kofn.client import calls
from kofn.client.answers import Answers, StreamReply
from kofn.client.calls import Call, Retry
from kofn.client.connections import AioConnection, Place
from kofn.client.messages import Names, Parameters, wishes
from kofn.client.streams import BatchStream
from kofn.wire import control_pb2
from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from kofn.wire.tls import Tls

T = TypeVar("T")


class AsyncClient:
    """A client of a master; make it inside a running event loop, `async with` closes it.

    Every method raises KofnError's subclasses, as the master raised them.

    Args:
        target: "host:port" of the master, or any name that gRPC resolves.
        control: the same of its control service, where that has an address of its own.
        tls: certificates; None is plain text.
        token: what the control service asks for, where it asks for one.
        max_message_mb: largest message, either way, in units of 2^20 bytes.
        timeout_s: bound of every call that is given no other.
        retry: when calls are made again; see `kofn.client.calls` for which.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:8001",
        *,
        control: str | None = None,
        tls: Tls | None = None,
        token: str | None = None,
        max_message_mb: int = calls.MESSAGE_MB,
        timeout_s: float = calls.TIMEOUT_S,
        retry: Retry = Retry(),  # noqa: B008 - frozen
    ) -> None:
        self.target = target
        self.timeout_s = timeout_s
        place = Place(target, control or target, tls, token, max_message_mb * 2**20)
        self._connection = AioConnection(place, retry)
        self._names: dict[str, Names] = {}  # of each model asked; forgotten when one is refused

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; calls in flight raise Cancelled."""
        await self._connection.close()

    async def infer(
        self,
        model: str,
        images: npt.NDArray[Any],
        *,
        models: str | Sequence[str] | None = None,
        timeout_s: float | None = None,
        allow_partial: bool = False,
        wait: str | None = None,
        parameters: Parameters | None = None,
        request_id: str | None = None,
    ) -> Answers:
        """Answers for a batch of images.

        Args:
            model: name of a deployment.
            images: [rows, *query], floating point, or uint8, which the master divides by 255.
            models: of a deployment of several: one's name, "mean" for their weighted mean, or a
                list of such names, which gives outputs [rows, models, *answer]. None: all models.
            timeout_s: seconds the whole call may take; the master is told to answer a little
                earlier. None leaves the time to the deployment, within the client's own bound.
            allow_partial: take what is there at the deadline; rows without an answer are marked.
            wait: "first", "soft", "all" or "adaptive": whether decoded answers are taken as soon as
                they can be had; None is the deployment's choice.
            parameters: further request parameters; they win over those above.
            request_id: comes back with the answers.
        """
        began, end = monotonic(), self._end(timeout_s)
        call = calls.infer(
            model,
            (await self._names_of(model, end)).asking(models),
            images,
            wishes(allow_partial, wait, parameters),
            request_id,
            is_timed=timeout_s is not None,
            elapsed_s=lambda: monotonic() - began,
        )
        try:
            return await self._connection.make(call, end)
        except (InvalidArgument, NotFound):
            self._names.pop(model, None)
            raise

    async def infer_batches(
        self,
        model: str,
        images: npt.NDArray[Any],
        *,
        batch_size: int,
        concurrency: int = 4,
        **options: Any,
    ) -> AsyncIterator[Answers]:
        """Answers for many images, a batch after the other, in the order of the images.

        Args:
            model: name of a deployment.
            images: [rows, *query].
            batch_size: rows of a request.
            concurrency: requests in flight.
            options: of `infer`, for each request.

        Raises:
            KofnError: of the first batch that failed; later ones are cancelled.
        """
        batches = calls.split(images, batch_size, concurrency)
        under_way: deque[asyncio.Task[Answers]] = deque()
        try:
            for batch in batches:
                asking = self.infer(model, batch, **options)
                under_way.append(asyncio.create_task(asking, name=f"infer {model}"))
                if len(under_way) >= concurrency:
                    yield await under_way[0]
                    under_way.popleft()
            while under_way:
                yield await under_way[0]
                under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def stream(
        self,
        model: str,
        batches: Iterable[npt.NDArray[Any]] | AsyncIterable[npt.NDArray[Any]],
        *,
        models: str | Sequence[str] | None = None,
        timeout_s: float | None = None,
        allow_partial: bool = False,
        wait: str | None = None,
        parameters: Parameters | None = None,
    ) -> AsyncIterator[StreamReply]:
        """Answers for batches sent as they come, on one stream, in the order they are ready.

        A batch that fails does not end the stream. The stream is not repeated when it breaks.

        Args:
            model: name of a deployment.
            batches: each [rows, *query] as of `infer`; taken as fast as the master reads.
            models: as of `infer`.
            timeout_s: seconds the whole stream may take.
            allow_partial: as of `infer`.
            wait: as of `infer`.
            parameters: as of `infer`; the time of one batch is `{"timeout_ms": ...}`.

        Raises:
            KofnError: the stream broke.
            Exception: what `batches` raised, after the replies to those before.
        """
        self._connection.check_open()
        end = self._end(timeout_s)
        names = (await self._names_of(model, end)).asking(models)
        stream = BatchStream(model, names, wishes(allow_partial, wait, parameters))

        async def requests() -> AsyncIterator[pb.ModelInferRequest]:
            try:
                async for batch in _each(batches):
                    yield stream.request(batch)
            except Exception as error:  # noqa: BLE001 - raised below, behind the last reply
                stream.broken = error

        stub = self._connection.stubs["inference"]
        call = stub.ModelStreamInfer(requests(), timeout=max(0.0, end - monotonic()))
        async with aclosing(self._connection.messages(call)) as messages:
            async for message in messages:
                yield stream.reply(message)
        if stream.broken is not None:
            raise stream.broken

    async def metadata(
        self, model: str, *, timeout_s: float | None = None
    ) -> pb.ModelMetadataResponse:
        """Names, datatypes and shapes of a model's inputs and outputs."""
        return await self._ask(calls.metadata(model), timeout_s)

    async def server_metadata(self, *, timeout_s: float | None = None) -> pb.ServerMetadataResponse:
        """Name, version and extensions of the master."""
        return await self._ask(calls.server_metadata(), timeout_s)

    async def config(self, model: str, *, timeout_s: float | None = None) -> pb.ModelConfig:
        """A model's configuration in Triton's form, its code among the parameters."""
        return await self._ask(calls.config(model), timeout_s)

    async def statistics(
        self, model: str = "", *, timeout_s: float | None = None
    ) -> tuple[pb.ModelStatistics, ...]:
        """Counters of one model, or of all."""
        return await self._ask(calls.statistics(model), timeout_s)

    async def is_live(self, *, timeout_s: float | None = None) -> bool:
        """The master's process answers; False when it cannot be reached."""
        return await self._told(calls.is_live(), timeout_s)

    async def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """The master takes requests; False when it cannot be reached."""
        return await self._told(calls.is_ready(), timeout_s)

    async def model_ready(self, model: str, *, timeout_s: float | None = None) -> bool:
        """The model is served and has workers; False when the master cannot be reached."""
        return await self._told(calls.model_ready(model), timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> control_pb2.Status:
        """Workers and deployments."""
        return await self._ask(calls.status(), timeout_s)

    async def set_faults(
        self,
        faults: str | Mapping[str, Any] | None,
        workers: Sequence[str] = (),
        *,
        timeout_s: float | None = None,
    ) -> control_pb2.FaultsReply:
        """Replace the injected faults of some workers, or of all.

        Args:
            faults: as in a scenario file, a mapping or its JSON; None clears them.
            workers: names or addresses; none is all.
            timeout_s: bound of the call.
        """
        return await self._ask(calls.set_faults(faults, workers), timeout_s)

    async def get_faults(
        self, workers: Sequence[str] = (), *, timeout_s: float | None = None
    ) -> control_pb2.FaultsReply:
        """The faults that some workers, or all, inject."""
        return await self._ask(calls.get_faults(workers), timeout_s)

    async def deploy(
        self, deployment: str | Mapping[str, Any], *, timeout_s: float = calls.DEPLOY_TIMEOUT_S
    ) -> control_pb2.DeploymentStatus:
        """Start or replace a deployment; returns when it serves.

        Args:
            deployment: one item of `deployments` of a deployment file, a mapping or YAML.
            timeout_s: bound of the call; programs are pushed and decoders calibrated in it.
        """
        return await self._ask(calls.deploy(deployment), timeout_s)

    async def undeploy(self, name: str, *, timeout_s: float | None = None) -> None:
        """End a deployment."""
        await self._ask(calls.undeploy(name), timeout_s)

    async def events(self, *, timeout_s: float | None = None) -> AsyncIterator[control_pb2.Event]:
        """What happens in the cluster from now on, until the iterator is closed.

        Args:
            timeout_s: end it with DeadlineExceeded after this time; None listens as long as the
                connection lives, which keepalive watches.
        """
        self._connection.check_open()
        stub = self._connection.stubs["control"]
        call = stub.WatchEvents(
            control_pb2.WatchEventsRequest(),
            timeout=timeout_s,
            metadata=self._connection.metadata["control"],
        )
        async with aclosing(self._connection.messages(call)) as messages:
            async for event in messages:
                yield event

    async def _names_of(self, model: str, end: float) -> Names:
        if model not in self._names:
            self._names[model] = await self._connection.make(calls.names(model), end)
        return self._names[model]

    def _end(self, timeout_s: float | None) -> float:
        return monotonic() + (self.timeout_s if timeout_s is None else timeout_s)

    async def _ask(self, call: Call[T], timeout_s: float | None) -> T:
        return await self._connection.make(call, self._end(timeout_s))

    async def _told(self, call: Call[bool], timeout_s: float | None) -> bool:
        try:
            return await self._ask(call, timeout_s)
        except (Unavailable, DeadlineExceeded):
            return False


async def _each(batches: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(batches, AsyncIterable):
        async for batch in batches:
            yield batch
    else:
        for batch in batches:
            yield batch
