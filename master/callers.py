"""Who asks: the id of a request, from its client or made here, and its span.

Between the gateway's methods and their work; what went wrong is logged here where no deployment
has taken the request.
"""

import itertools
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import InvalidArgument, NotFound
from master.query import Caller

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

REQUEST_ID = "x-request-id"  # metadata: of a request, and of its reply
LONGEST_ID = 128  # letters; an id is for looking up

log = structlog.get_logger(__name__)


class Callers:
    """Names requests, and traces them where a tracer is given."""

    def __init__(self, tracer: "Tracer | None" = None) -> None:
        self._tracer = tracer
        self._prefix = secrets.token_hex(4)  # other than that of the master before, or beside
        self._numbers = itertools.count(1)

    @contextmanager
    def caller(
        self, message: pb.ModelInferRequest, metadata: Mapping[str, str], method: str
    ) -> Iterator[Caller]:
        """Whoever sent this message, while it is being answered."""
        told = message.id or metadata.get(REQUEST_ID, "")
        name = told[:LONGEST_ID] or f"{self._prefix}-{next(self._numbers)}"
        span = None
        if self._tracer is not None:
            from master import tracing

            span = tracing.request_span(
                self._tracer, method, metadata, name, message.model_name[:LONGEST_ID]
            )
        error: BaseException | None = None
        try:
            yield Caller(name, span)
        except (InvalidArgument, NotFound) as caught:
            error = caught
            log.info("request-invalid", request=name, model=message.model_name, reason=str(caught))
            raise
        except BaseException as caught:
            error = caught
            raise
        finally:
            if span is not None:
                tracing.request_ended(span, error)


def ascii_only(text: str) -> str:
    """Text as metadata may carry it."""
    return text if text.isascii() and text.isprintable() else ascii(text)


def metadata_of(context: "grpc.aio.ServicerContext[Any, Any]") -> dict[str, str]:
    """What came with a call, text only."""
    pairs = context.invocation_metadata() or ()
    return {key: value for key, value in pairs if isinstance(value, str)}
