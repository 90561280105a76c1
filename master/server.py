"""A master, running: its services on one port or two, metrics on another, the pool behind them."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kofn.metrics import MetricsServer, serve_metrics
from kofn.tracing import Tracing
from kofn.wire import (
    channels,
    control_pb2,
    control_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    matrices_pb2,
    matrices_pb2_grpc,
)
from kofn.wire.access import TokenInterceptor
from kofn.wire.serving import ErrorInterceptor
from kofn.wire.signing import signing_key
from kofn.wire.tls import Tls
from master.config import MasterConfig
from master.control import Control
from master.dialling import Dialling
from master.discovery import is_loopback, needs_resolving
from master.gateway import Gateway
from master.health import Health
from master.metrics import MasterCollector
from master.pool import Pool
from master.products import Products
from master.state import Events, State
from models.store import Store

INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
PRODUCTS = matrices_pb2.DESCRIPTOR.services_by_name["Products"].full_name
CONTROL = control_pb2.DESCRIPTOR.services_by_name["Control"].full_name
FIRST_WORKER_S = 30.0  # how long deployments at the start wait for a worker to show up

log = structlog.get_logger(__name__)


class MasterServer:
    """One master; `async with` starts it, serves, and drains at the end.

    Args:
        config: what to serve and where.
        store: where programs are found by name.
        tracing: where spans go; None makes none.
        token: what callers of the control service must show; None asks for none.

    Raises (on entry):
        OSError: a configured port is taken.
        KofnError: a deployment cannot be bound.
    """

    def __init__(
        self,
        config: MasterConfig,
        store: Store,
        tracing: Tracing | None = None,
        token: str | None = None,
    ) -> None:
        self.config = config
        self.address = ""  # "host:port", once serving
        self.control_address = ""  # the same of the control service
        self.metrics_address = ""  # the same for metrics; empty when there are none
        self._events = Events()
        key = None if config.signing_key is None else signing_key(config.signing_key)
        dialling = Dialling(config.workers_tls, config.server.max_message_mb * 2**20, key)
        self.pool = Pool(config.workers, self._events.tell, dialling)
        self.state = State(
            pool=self.pool,
            store=store,
            events=self._events,
            tracer=None if tracing is None else tracing.tracer,
        )
        self._health = Health(self.state, inference=("", INFERENCE), control=(CONTROL, PRODUCTS))
        self._metrics: MetricsServer | None = None
        self._token = token
        self._servers: list[grpc.aio.Server] = []
        self._following: asyncio.Task[None]
        self._watching: asyncio.Task[None]

    async def __aenter__(self) -> "MasterServer":
        where = self.config.server
        self._listen()
        if where.metrics_port is not None:
            collector = MasterCollector(self.state)
            self._metrics = serve_metrics(collector, where.host, where.metrics_port, where.tls)
            self.metrics_address = f"{where.host}:{self._metrics.port}"
        self._following = asyncio.create_task(self.pool.run(), name="pool")
        self._watching = asyncio.create_task(self._health.follow(), name="health")
        try:
            for deployment in self.config.deployments:
                await self.state.deploy(deployment)
            for server in self._servers:
                await server.start()
            if self.config.workers and self.config.deployments:
                await self._wait_for_workers()
                await self.state.provide_shares()
        except BaseException:
            await self._close(0)
            raise
        await self._health.tell()
        log.info("serving", address=self.address, metrics=self.metrics_address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.drain()
        await self._close(grace_s=1.0)

    async def run(self) -> None:
        """Serve until cancelled; a part that ends unexpectedly ends the master, loudly."""
        await asyncio.wait({self._following, self._watching}, return_when="FIRST_COMPLETED")
        for part in (self._following, self._watching):
            if part.done():
                part.result()  # raises what ended it
        raise RuntimeError("the pool or the health ended while the master was serving")

    async def drain(self, refusing_s: float = 0.0) -> None:
        """Refuse new requests, answer those in hand, then refuse for a moment more, so that whoever
        had the last answers hears why: what comes in the instant in which a server stops is only
        cancelled. Once is enough."""
        if self.state.draining:
            return
        await _ended(self._watching)
        await self._health.enter_graceful_shutdown()
        log.info("draining")
        await self.state.drain(self.config.server.drain_s)
        await asyncio.sleep(refusing_s)

    def _listen(self) -> None:
        """Bind the services: the control service apart where it has a port of its own."""
        where, control = self.config.server, self.config.server.control
        if control.port is None:
            port = self._bind((INFERENCE, PRODUCTS, CONTROL), where.host, where.port, where.tls)
            self.address = self.control_address = f"{where.host}:{port}"
            host, tls = where.host, where.tls
        else:
            port = self._bind((INFERENCE, PRODUCTS), where.host, where.port, where.tls)
            self.address = f"{where.host}:{port}"
            host, tls = control.host or where.host, control.tls or where.tls
            port = self._bind((CONTROL,), host, control.port, tls)
            self.control_address = f"{host}:{port}"
        is_open = self._token is None and (tls is None or tls.authority is None)
        if is_open and not is_loopback(host):
            log.warning(
                "control-unprotected",
                address=self.control_address,
                hint="whoever reaches it can deploy and inject faults; see server.control",
            )

    def _bind(self, services: Sequence[str], host: str, port: int, tls: Tls | None) -> int:
        """A server of these services, with health and reflection; returns its port."""
        guards = [] if self._token is None else [TokenInterceptor(CONTROL, self._token)]
        message_bytes = self.config.server.max_message_mb * 2**20
        server = channels.server([ErrorInterceptor(), *guards], message_bytes)
        self._servers.append(server)
        if INFERENCE in services:
            gateway = Gateway(self.state)
            inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(gateway, server)
        if PRODUCTS in services:
            matrices_pb2_grpc.add_ProductsServicer_to_server(Products(self.pool), server)
        if CONTROL in services:
            control_pb2_grpc.add_ControlServicer_to_server(Control(self.state), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        return channels.listen(server, f"{host}:{port}", tls)

    async def _wait_for_workers(self) -> None:
        most = max(item.binding.code.n for item in self.state.deployments.values())
        targets = self.config.workers
        wanted = most if needs_resolving(targets) else min(most, len(targets))
        if not await self.pool.wait_for_workers(wanted, FIRST_WORKER_S):
            log.warning("few-workers", up=self.pool.workers_up, wanted=wanted)

    async def _close(self, grace_s: float) -> None:
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))
        for part in (self._following, self._watching):
            await _ended(part)
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)


async def _ended(part: asyncio.Task[None]) -> None:
    """Cancel a part that runs in the background."""
    part.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await part
