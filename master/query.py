"""What travels through the master: a client's request, and the answers that it collects.

A request holds its rows and the arrays in which their answers arrive, from one or several coded
batches; its future is resolved exactly once. It knows neither grpc nor codes.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kofn.wire.errors import DeadlineExceeded, KofnError, Unavailable
from kofn.wire.source import Source

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass(frozen=True)
class Wishes:
    """What a client asked for beside its rows."""

    deadline: float  # monotonic seconds
    allow_partial: bool = False  # rows that cannot be had in time may be missing
    # Whose answers are wanted, of a deployment of several models: numbers among its outputs.
    models: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Caller:
    """Who asks, for whoever watches."""

    request_id: str = ""  # the client's, else made; in logs and traces
    span: "Span | None" = None  # of the request, where it is traced


NOBODY = Caller()


@dataclass
class Timings:
    """Seconds that a request's coded batches took, the slowest of each stage."""

    queue_s: float = 0.0
    encode_s: float = 0.0
    wait_s: float = 0.0
    decode_s: float = 0.0

    def take_longest(self, other: "Timings") -> None:
        """Keep the larger of each stage."""
        self.queue_s = max(self.queue_s, other.queue_s)
        self.encode_s = max(self.encode_s, other.encode_s)
        self.wait_s = max(self.wait_s, other.wait_s)
        self.decode_s = max(self.decode_s, other.decode_s)


@dataclass(eq=False)
class Request:
    """Rows of one client, waiting for their answers.

    Args:
        id: unique in this process.
        rows: [r, *query] float32.
        wishes: deadline and options.
        answer_shape: shape of one answer.
        arrived: monotonic seconds.
        caller: its name and span.
    """

    id: int
    rows: np.ndarray
    wishes: Wishes
    answer_shape: tuple[int, ...]
    arrived: float
    future: "asyncio.Future[None]"  # resolved when no row is pending, or the deadline has passed
    caller: Caller = NOBODY
    # Each has an axis of m models after its first, where the wishes name models.
    outputs: np.ndarray = field(init=False)  # [r, *answer]; NaN where missing
    source: np.ndarray = field(init=False)  # uint8 [r], a Source each
    expected_error: np.ndarray = field(init=False)  # float32 [r]; NaN where unknown
    pending: int = field(init=False)  # answers neither given nor given up
    responders: dict[int, tuple[int, ...]] = field(default_factory=dict)  # by batch number
    timings: Timings = field(default_factory=Timings)
    failure: str = ""  # why rows are missing, as the last batch said
    out_of_time: bool = False  # rows are missing because the deadline passed

    def __post_init__(self) -> None:
        models = self.wishes.models
        shape = (len(self.rows),) if models is None else (len(self.rows), len(models))
        self.outputs = np.full((*shape, *self.answer_shape), np.nan, np.float32)
        self.source = np.zeros(shape, np.uint8)
        self.expected_error = np.full(shape, np.nan, np.float32)
        self.pending = self.source.size

    @property
    def name(self) -> str:
        """What logs call it."""
        return self.caller.request_id or f"#{self.id}"

    @property
    def span(self) -> "Span | None":
        """Its span, where it is traced."""
        return self.caller.span

    @property
    def is_done(self) -> bool:
        """Whether its future is resolved: answers that come now are too late."""
        return self.future.done()

    def settle(self, answers: int) -> None:
        """That many answers are given or given up; the last ones resolve the future."""
        self.pending -= answers
        if self.pending == 0 and not self.future.done():
            self.future.set_result(None)

    def expire(self) -> None:
        """The deadline has passed: what is here is all that there will be."""
        if not self.future.done():
            self.out_of_time = True
            self.future.set_result(None)

    def error(self) -> KofnError | None:
        """Why this request cannot be answered as asked; None when it can."""
        missing = int((self.source == Source.MISSING).sum())
        if not missing or (self.wishes.allow_partial and missing < self.source.size):
            return None
        said = self.failure or "no coded batch was complete"
        message = f"{missing} of {self.source.size} answers could not be had: {said}."
        if not self.wishes.allow_partial:
            message += " Set allow_partial to take the others."
        return DeadlineExceeded(message) if self.out_of_time else Unavailable(message)

    def outcome(self, error: KofnError | None) -> str:
        """How it ended, in a word for the statistics."""
        if error is not None:
            return error.status.name.lower()
        return "partial" if (self.source == Source.MISSING).any() else "ok"
