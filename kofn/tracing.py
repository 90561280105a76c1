"""Traces by OpenTelemetry, as master and worker share them: off unless a flag or variable asks.

Spans are made by hand, where the work is: the instrumentation of gRPC's asynchronous client keeps
cancellations from reaching the server. Nothing of OpenTelemetry is loaded while tracing is off.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from kofn.wire.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

EXPORTERS = ("otlp", "console", "none")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
TRACEPARENT = "traceparent"  # of W3C trace context, as metadata and in tasks
TRACESTATE = "tracestate"
CLOSE_MS = 3000  # for spans that were not yet sent at the end; a collector may be gone


@dataclass(frozen=True)
class Tracing:
    """Where spans go."""

    provider: "TracerProvider"

    @property
    def tracer(self) -> "Tracer":
        """Makes the spans."""
        return self.provider.get_tracer("kofn", version("kofn"))

    def close(self) -> None:
        """Send what is left; may take some seconds where the collector does not answer."""
        self.provider.force_flush(CLOSE_MS)
        self.provider.shutdown()


def start_tracing(
    service: str, wanted: bool, environment: Mapping[str, str] | None = None
) -> Tracing | None:
    """Tracing as the flag and OpenTelemetry's own variables ask for it; None when it is off.

    Args:
        service: the resource's `service.name`, unless the environment names another.
        wanted: by flag: on, to OTEL_EXPORTER_OTLP_ENDPOINT or the collector's usual local port.
        environment: that of the process, when not given.

    Raises:
        InvalidArgument: a variable asks for what is not there.
        FailedPrecondition: OpenTelemetry is not installed.
    """
    told = os.environ if environment is None else environment
    exporter = told.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in ("", *EXPORTERS):
        raise InvalidArgument(
            f"OTEL_TRACES_EXPORTER must be one of {', '.join(EXPORTERS)}, not {exporter!r}."
        )
    protocol = next((told[name] for name in PROTOCOLS if name in told), "grpc")
    if protocol != "grpc":
        raise InvalidArgument(f"OTEL_EXPORTER_OTLP_PROTOCOL must be grpc here, not {protocol!r}.")
    is_off = told.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none"
    is_on = wanted or exporter != "" or any(told.get(name) for name in ENDPOINTS)
    if is_off or not is_on:
        return None
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        to = _exporter(exporter)
    except ImportError as error:
        raise FailedPrecondition(
            "traces are asked for and OpenTelemetry is not installed: pip install 'kofn[trace]'"
        ) from error
    named = "OTEL_SERVICE_NAME" in told or SERVICE_NAME in told.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ours = {"service.version": version("kofn"), **({} if named else {SERVICE_NAME: service})}
    provider = TracerProvider(resource=Resource.create(ours))  # it reads the sampler's variables
    provider.add_span_processor(BatchSpanProcessor(to))
    return Tracing(provider)


@contextmanager
def spans_of(service: str, wanted: bool) -> Iterator[Tracing | None]:
    """`start_tracing` for as long as a process serves; what is left is sent at the end."""
    tracing = start_tracing(service, wanted)
    try:
        yield tracing
    finally:
        if tracing is not None:
            tracing.close()


def context_of(traceparent: str, tracestate: str = "") -> "Context":
    """The context of an incoming `traceparent`; an empty one when that is missing or malformed."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {TRACEPARENT: traceparent, TRACESTATE: tracestate}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def traceparent_of(span: "Span") -> str:
    """What a peer is told, so that its spans join."""
    told = span.get_span_context()
    return f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"


def epoch_ns(moment: float) -> int:
    """A moment of the monotonic clock as spans take it."""
    return time_ns() + int(1e9 * (moment - monotonic()))


def _exporter(name: str) -> "SpanExporter":
    if name == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
