"""Traces of real processes, as a collector receives them over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)

import kofn
from kofn.launch import Cluster, LocalWorkers
from models import data

PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(120)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that it is sent, by the service that sent it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self.heard = asyncio.Event()

    async def Export(
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """As the protocol has it."""
        for resource in request.resource_spans:
            named = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(named["service.name"], span) for span in scope.spans]
        self.heard.set()
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    """A running collector, and its address."""
    made, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield made, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_master_and_workers_send_one_trace(
    digits_store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Turned on by the standard variable alone; nothing is left behind at the end."""
    deployment = {
        "name": "digits",
        "program": "digits-mlp",
        "code": {"name": "parity", "k": 2, "n": 3},
        "policy": {"wait": "all"},
    }
    async with collector() as (heard, endpoint):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        async with (
            Cluster(
                LocalWorkers(3), [deployment], store=digits_store.root, folder=tmp_path
            ) as cluster,
            kofn.AsyncClient(cluster.address) as client,
        ):
            await cluster.all_up(PATIENCE_S)
            await client.infer("digits", data.load("digits", "test").images.numpy()[:2])
        # What a process had not sent yet it has sent by its end.
        spans = {(service, span.name): span for service, span in heard.spans}
        assert {service for service, _ in heard.spans} == {"kofn-master", "kofn-worker"}
        assert len({span.trace_id for span in spans.values()}) == 1
        shards = {span.span_id for _, span in heard.spans if span.name == "shard"}
        tasks = [span for _, span in heard.spans if span.name == "task"]
        assert len(tasks) == 3
        assert {task.parent_span_id for task in tasks} == shards
