"""The master's spans: of a request, of a coded batch, of each shard, of encode and decode.

A batch serves several requests. Its span is a child of the first one's that is sampled, and linked
with the others, both ways; where none is sampled there is none.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, set_span_in_context

from kofn.tracing import TRACEPARENT, TRACESTATE, context_of, epoch_ns, traceparent_of
from kofn.wire.errors import KofnError

if TYPE_CHECKING:
    from master.coding import Coding
    from master.query import Request


def request_span(
    tracer: Tracer, method: str, metadata: Mapping[str, str], request_id: str, model: str
) -> Span:
    """A request has come; a child of what its client told by `traceparent`."""
    service, _, name = method.rpartition("/")
    return tracer.start_span(
        method,
        context_of(metadata.get(TRACEPARENT, ""), metadata.get(TRACESTATE, "")),
        SpanKind.SERVER,
        {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": name,
            "kofn.request_id": request_id,
            "kofn.deployment": model,
        },
    )


def request_ended(span: Span, error: BaseException | None) -> None:
    """It has its reply, or an error."""
    if error is not None:
        status = error.status if isinstance(error, KofnError) else None
        span.set_attribute("rpc.grpc.status_code", status.value[0] if status else 2)
        span.set_status(StatusCode.ERROR, str(error) or type(error).__name__)
    else:
        span.set_attribute("rpc.grpc.status_code", 0)
    span.end()


class BatchTrace:
    """The spans of one coded batch; `of` makes it, where one of its requests is sampled."""

    def __init__(self, tracer: Tracer, coding: "Coding", parents: Sequence[Span]) -> None:
        self._tracer = tracer
        self._coding = coding
        first, *others = parents
        self._span = tracer.start_span(
            "coded batch",
            set_span_in_context(first),
            links=[Link(other.get_span_context()) for other in others],
            attributes={
                "kofn.deployment": coding.name,
                "kofn.code": coding.bound.name,
                "kofn.k": coding.bound.k,
                "kofn.n": coding.bound.n,
            },
        )
        for other in others:
            other.add_link(self._span.get_span_context())
        self._inside = set_span_in_context(self._span)

    @classmethod
    def of(cls, coding: "Coding", requests: Sequence["Request"]) -> "BatchTrace | None":
        """The trace of a batch that serves these requests."""
        if coding.tracer is None:
            return None
        spans = {id(r.span): r.span for r in requests if r.span is not None}
        sampled = [span for span in spans.values() if span.is_recording()]
        return cls(coding.tracer, coding, sampled) if sampled else None

    def started(self, batch: int, rows: int, groups: int, queue_s: float) -> None:
        """What is in it, and how long the oldest row had waited."""
        self._span.set_attributes(
            {
                "kofn.batch": batch,
                "kofn.rows": rows,
                "kofn.groups": groups,
                "kofn.queue_s": queue_s,
            }
        )

    def stage(self, name: str, began: float, **attributes: str | int) -> None:
        """A stage is over that began at this monotonic moment: encode, locate, decode."""
        span = self._tracer.start_span(
            name,
            self._inside,
            attributes={f"kofn.{key}": value for key, value in attributes.items()},
            start_time=epoch_ns(began),
        )
        span.end()

    def shard(self, slot: int, attempt: int, worker: str) -> tuple[Span, str]:
        """A slot is sent; its span, and what the worker is told of it."""
        span = self._tracer.start_span(
            "shard",
            self._inside,
            SpanKind.CLIENT,
            {
                "kofn.slot": slot,
                "kofn.role": self._coding.code.roles[slot],
                "kofn.attempt": attempt,
                "kofn.worker": worker,
            },
        )
        return span, traceparent_of(span)

    def shard_ended(self, span: Span, how: str, reason: str) -> None:
        """How the send ended: "answered", "failed", "lost", "cancelled", "not sent"."""
        span.set_attribute("kofn.outcome", how)
        if how in ("failed", "lost"):
            span.set_status(StatusCode.ERROR, reason or "the connection broke")
        span.end()

    def failed(self, reason: str) -> None:
        """Answers could not be had."""
        self._span.set_status(StatusCode.ERROR, reason)

    def finished(self) -> None:
        """Nothing more will come of the batch."""
        self._span.end()
