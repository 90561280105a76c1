"""A collector of traces, as services send them to it over gRPC."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

Spans = list[tuple[str, Any]]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that it is sent.

    Attributes:
        endpoint: where services send spans to.
        spans: (service.name, span), in the order in which they came.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: Spans = []
        self._came = Condition()

    def Export(
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """As the protocol has it."""
        with self._came:
            for resource in request.resource_spans:
                named = {item.key: item.value.string_value for item in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.spans += [(named["service.name"], span) for span in scope.spans]
            self._came.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, is_enough: Callable[[Spans], bool], timeout_s: float) -> bool:
        """Block until the spans are enough; False when they are not in time."""
        with self._came:
            return self._came.wait_for(lambda: is_enough(self.spans), timeout_s)


@contextmanager
def collector(host: str = "127.0.0.1") -> Iterator[Collector]:
    """A running collector at a free port of one of this machine's addresses."""
    made, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    made.endpoint = f"http://{host}:{server.add_insecure_port(f'{host}:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(None).wait()


def is_joined(spans: Spans) -> bool:
    """A worker has sent the span of a task, and the master that of the task's shard."""
    shards = {span.span_id for _, span in spans if span.name == "shard"}
    return any(span.name == "task" and span.parent_span_id in shards for _, span in spans)
