"""A worker, running: its service, health and reflection on one port, the device behind them."""

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kofn.metrics import MetricsServer, serve_metrics
from kofn.tracing import Tracing
from kofn.wire import channels, matrix_calls, worker_pb2, worker_pb2_grpc
from kofn.wire.errors import Internal
from kofn.wire.serving import ErrorInterceptor
from kofn.wire.signing import trusted_key
from worker.config import WorkerConfig
from worker.dispatch import Dispatcher
from worker.matrices import Matrices
from worker.matrices_service import MatricesService
from worker.operations import Operations
from worker.programs import Programs
from worker.queue import Queue
from worker.runner import Runner
from worker.service import Hang, WorkerService

if TYPE_CHECKING:
    from worker.tracing import TaskSpans

WORKER = worker_pb2.DESCRIPTOR.services_by_name["Worker"].full_name
MATRICES = matrix_calls.SERVICE.full_name
CLOSE_GRACE_S = 0.5  # for calls that hear of their end only now; a watch of health never does

log = structlog.get_logger(__name__)


class WorkerServer:
    """One worker; `async with` starts it, serves, and drains at the end.

    Several may live in one process, on one event loop. An injected exit ends that process.

    Args:
        config: what it is told.
        tracing: where spans go; None makes none.

    Attributes:
        address: "host:port", once serving.
        metrics_address: the same for metrics; empty when there are none.
        dispatcher: who runs tasks, once serving; programs: what it holds, likewise.

    Raises (on entry):
        OSError: the port is taken, or the cache folder cannot be used.
        FailedPrecondition: there is no such device.
    """

    def __init__(self, config: WorkerConfig, tracing: Tracing | None = None) -> None:
        self.config = config
        self._tracing = tracing
        self.address = ""
        self.metrics_address = ""
        self._metrics: MetricsServer | None = None
        self._runner = Runner(config.device, config.threads, config.precision)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._server: grpc.aio.Server
        self._service: WorkerService
        self.dispatcher: Dispatcher
        self.programs: Programs
        self._dispatching: asyncio.Task[None]

    async def __aenter__(self) -> "WorkerServer":
        config = self.config
        programs = self.programs = Programs(
            config.cache,
            config.device,
            config.max_loaded_programs,
            config.max_kept_programs,
            config.max_program_mb * 2**20,
            None if config.trust is None else trusted_key(config.trust),
        )
        queue = Queue(config.max_batch_rows, config.max_queue_tasks)
        self.dispatcher = Dispatcher(config.name, queue, self._runner, self._spans())
        operations = Operations(self.dispatcher, self._runner)
        self._service = WorkerService(
            config.name, config.device, programs, self.dispatcher, operations
        )
        matrices = Matrices(config.matrices_mb * 2**20)
        interceptors = [Hang(self.dispatcher.awake), ErrorInterceptor()]
        server = self._server = channels.server(interceptors, config.max_message_mb * 2**20)
        worker_pb2_grpc.add_WorkerServicer_to_server(self._service, server)
        matrix_calls.add_to_server(
            MatricesService(config.name, config.device, matrices, operations), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (WORKER, MATRICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        try:
            await programs.survey()
            await programs.warm_up()
            port = channels.listen(server, f"{config.host}:{config.port}", config.tls)
            self.address = f"{config.host}:{port}"
            self.dispatcher.set_faults(config.faults)
            if config.metrics_port is not None:
                from worker.metrics import WorkerCollector

                collector = WorkerCollector(self.dispatcher, programs)
                self._metrics = serve_metrics(
                    collector, config.host, config.metrics_port, config.tls
                )
                self.metrics_address = f"{config.host}:{self._metrics.port}"
            await server.start()
        except BaseException:
            await server.stop(None)
            await self._runner.close()
            if self._metrics is not None:
                self._metrics.close()
            raise
        self._dispatching = asyncio.create_task(self.dispatcher.run(), name="dispatch")
        self._dispatching.add_done_callback(self._on_end)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        log.info("serving", worker=config.name, address=self.address, device=config.device)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        log.info("draining", worker=self.config.name)
        self._service.drain()
        try:
            async with asyncio.timeout(self.config.drain_s):
                await self.dispatcher.wait_idle()
        except TimeoutError:
            log.warning("not-drained", worker=self.config.name, after_s=self.config.drain_s)
        await self._server.stop(CLOSE_GRACE_S)
        self._dispatching.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):  # `run` has raised it
            await self._dispatching
        await self._runner.close()
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)

    async def run(self) -> None:
        """Serve until cancelled; raises what ended the part that runs tasks, should it end."""
        await asyncio.shield(self._dispatching)

    def _spans(self) -> "TaskSpans | None":
        if self._tracing is None:
            return None
        from worker.tracing import TaskSpans  # loads OpenTelemetry

        return TaskSpans(self._tracing.tracer, self.config.name)

    def _on_end(self, ended: "asyncio.Task[None]") -> None:
        """Nobody runs tasks any more: break off, rather than let masters wait for nothing."""
        if ended.cancelled():
            return
        log.critical("dispatch-ended", worker=self.config.name, exc_info=ended.exception())
        self._stopping = asyncio.ensure_future(self._break_off())

    async def _break_off(self) -> None:
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._service.drain()
        self._service.abort(Internal("The worker runs no tasks any more."))

    async def _set_health(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        for service in ("", WORKER, MATRICES):
            await self._health.set(service, status)
