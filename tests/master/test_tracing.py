"""Spans of requests, coded batches, shards and tasks: who is whose child, and what they tell."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler
from opentelemetry.trace import StatusCode

import kofn
from kofn.tracing import Tracing, start_tracing
from kofn.wire import inference_pb2, inference_pb2_grpc
from kofn.wire.tensors import input_tensor
from models import data
from models.store import Store
from support.cluster import Cluster, cluster

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DEPLOYMENT = {
    "name": "digits",
    "program": "digits-mlp",
    "code": {"name": "parity", "k": 2, "n": 3},
    "policy": {"wait": "all"},
    "batching": {"max_delay_ms": 0},
    "timeout_ms": 5000,
}


class Spans:
    """What was traced so far."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider)

    def named(self, name: str) -> list[ReadableSpan]:
        """All spans of a name."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Everything is sampled."""
    made = Spans()
    yield made
    made.tracing.close()


async def ask(
    running: Cluster, rows: int, *metadata: tuple[str, str], request_id: str = ""
) -> None:
    """One request of the protocol's own."""
    images = data.load("digits", "test").images.numpy()[:rows]
    tensor, raw = input_tensor("input", images)
    request = inference_pb2.ModelInferRequest(model_name="digits", inputs=[tensor], id=request_id)
    request.raw_input_contents.append(raw)
    async with grpc.aio.insecure_channel(running.master.address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        await stub.ModelInfer(request, metadata=metadata, timeout=10)


def children(spans: Spans, of: ReadableSpan) -> Counter[str]:
    """Names of a span's children."""
    return Counter(
        span.name
        for span in spans.exporter.get_finished_spans()
        if span.parent is not None and span.parent.span_id == of.context.span_id
    )


async def test_a_request_is_one_trace_from_its_client_to_the_device(
    digits_store: Store, tmp_path: Path, spans: Spans
) -> None:
    """Client, request, batch, encode and shards, tasks at the workers, queue and compute there."""
    async with cluster(
        tmp_path, digits_store, [DEPLOYMENT], workers=3, tracing=spans.tracing
    ) as running:
        traceparent = ("traceparent", f"00-{TRACE}-{PARENT}-01")
        await ask(running, 4, traceparent, request_id="r-1")
    (request,) = spans.named("inference.GRPCInferenceService/ModelInfer")
    assert {f"{s.context.trace_id:032x}" for s in spans.exporter.get_finished_spans()} == {TRACE}
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.attributes["kofn.request_id"] == "r-1"
    assert request.attributes["rpc.grpc.status_code"] == 0
    (batch,) = spans.named("coded batch")
    assert children(spans, request) == {"coded batch": 1}
    assert children(spans, batch) == {"encode": 1, "shard": 3}
    assert (batch.attributes["kofn.rows"], batch.attributes["kofn.groups"]) == (4, 2)
    for shard in spans.named("shard"):
        assert shard.attributes["kofn.outcome"] == "answered"
        assert children(spans, shard) == {"task": 1}
    assert {span.attributes["kofn.slot"] for span in spans.named("shard")} == {0, 1, 2}
    tasks = spans.named("task")
    assert len({span.attributes["kofn.worker"] for span in tasks}) == 3
    for task in tasks:
        assert children(spans, task) == {"queue": 1, "compute": 1}
        assert task.attributes["kofn.batch"] == batch.attributes["kofn.batch"]
    for inner, outer in (("queue", "task"), ("compute", "task"), ("shard", "coded batch")):
        for span in spans.named(inner):
            assert span.start_time <= span.end_time, inner
            assert span.start_time >= min(o.start_time for o in spans.named(outer)) - 1e6, inner


async def test_a_batch_of_several_requests_is_linked_with_all_of_them(
    digits_store: Store, tmp_path: Path, spans: Spans
) -> None:
    """Child of the first, links to the others, and they to it."""
    together = {**DEPLOYMENT, "batching": {"max_delay_ms": 60_000, "max_groups": 2}}
    async with cluster(
        tmp_path, digits_store, [together], workers=3, tracing=spans.tracing
    ) as running:
        await asyncio.gather(*(ask(running, 1) for _ in range(4)))
    (batch,) = spans.named("coded batch")
    requests = spans.named("inference.GRPCInferenceService/ModelInfer")
    assert len(requests) == 4
    (first,) = [r for r in requests if r.context.span_id == batch.parent.span_id]
    others = {r.context.span_id for r in requests} - {first.context.span_id}
    assert {link.context.span_id for link in batch.links} == others
    for request in requests:
        if request is not first:
            assert [link.context.span_id for link in request.links] == [batch.context.span_id]


async def test_a_lost_slot_and_what_is_decoded_for_it_are_seen(
    digits_store: Store, tmp_path: Path, spans: Spans
) -> None:
    """A worker refuses: its shard has failed, its row is decoded; a failed request says so."""
    refusing = {"failure": {"kind": "refuse", "probability": 1.0}}
    hasty = {**DEPLOYMENT, "policy": {"wait": "first", "max_sends": 1}}
    async with (
        cluster(tmp_path, digits_store, [hasty], workers=3, tracing=spans.tracing) as running,
        kofn.AsyncClient(running.master.address) as client,
    ):
        for name in ("worker-0", "worker-1"):  # whose slot is a parity, once at most
            await client.set_faults(None)
            await client.set_faults(refusing, workers=[name])
            await ask(running, 4)
        await client.set_faults(refusing)
        with pytest.raises(grpc.RpcError):
            await ask(running, 4, request_id="lost")
    assert spans.named("decode")
    (lost,) = [
        span
        for span in spans.named("inference.GRPCInferenceService/ModelInfer")
        if span.attributes["kofn.request_id"] == "lost"
    ]
    assert lost.status.status_code is StatusCode.ERROR
    assert lost.attributes["rpc.grpc.status_code"] == grpc.StatusCode.UNAVAILABLE.value[0]
    failed = [span for span in spans.named("shard") if span.attributes["kofn.outcome"] == "failed"]
    assert failed
    assert all(span.status.status_code is StatusCode.ERROR for span in failed)
    assert "injected" in {span.attributes["kofn.outcome"] for span in spans.named("task")}
    cancelled = {span.attributes["kofn.outcome"] for span in spans.named("shard")}
    assert cancelled >= {"answered", "failed"}


async def test_what_the_client_does_not_sample_is_not_traced(
    digits_store: Store, tmp_path: Path
) -> None:
    """Nor is what this side does not; its client's choice goes before."""
    spans = Spans(ParentBased(ALWAYS_OFF))
    try:
        async with cluster(
            tmp_path, digits_store, [DEPLOYMENT], workers=3, tracing=spans.tracing
        ) as running:
            await ask(running, 2)
            await ask(running, 2, ("traceparent", f"00-{TRACE}-{PARENT}-00"))
            await ask(running, 2, ("traceparent", "nonsense"))
            assert not spans.exporter.get_finished_spans()
            await ask(running, 2, ("traceparent", f"00-{TRACE}-{PARENT}-01"))
        assert len(spans.named("task")) == 3
    finally:
        spans.tracing.close()


def test_tracing_is_off_unless_asked_for() -> None:
    """By flag or variable; `none` and OTEL_SDK_DISABLED win."""
    assert start_tracing("s", wanted=False, environment={}) is None
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert start_tracing("s", False, {**endpoint, "OTEL_TRACES_EXPORTER": "none"}) is None
    assert start_tracing("s", True, {"OTEL_SDK_DISABLED": "true"}) is None


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "otlp, console, none, not 'jaeger'"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "must be grpc here"),
    ],
)
def test_what_is_not_there_is_refused(environment: dict[str, str], words: str) -> None:
    """With what is accepted."""
    with pytest.raises(kofn.InvalidArgument, match=words):
        start_tracing("s", True, environment)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "kofn-master"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine,a=b"}, "mine"),
    ],
)
def test_the_environment_may_name_the_service(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours where it names none."""
    for key, value in {"OTEL_TRACES_EXPORTER": "console", **environment}.items():
        monkeypatch.setenv(key, value)
    started = start_tracing("kofn-master", wanted=False)
    assert started is not None
    assert started.provider.resource.attributes["service.name"] == name
    started.close()
