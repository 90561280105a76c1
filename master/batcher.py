"""Queries of many clients, cut into coding groups: a full batch at once, a part after a delay.

It stands between the gateway and the encoder and holds row numbers, never rows. It starts no
timer and drops nothing by itself: the driver asks at `next_due`, and drops requests whose client
has gone or whose time is up.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import NamedTuple


class QueueFull(Exception):
    """The rows do not fit in the queue; nothing was added."""

    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(f"The queue holds {queued} rows of at most {limit}.")
        self.queued = queued
        self.limit = limit


@dataclass(frozen=True)
class Limits:
    """What a batch and the queue before it may hold.

    Args:
        max_groups: coding groups in a batch.
        max_delay_s: how long the oldest row may wait for company.
        queue_rows: rows that may wait; a full batch at least.
    """

    max_groups: int
    max_delay_s: float
    queue_rows: int

    def __post_init__(self) -> None:
        if self.max_groups < 1:
            raise ValueError(f"Argument 'max_groups' must be at least 1, not {self.max_groups}.")
        if not 0.0 <= self.max_delay_s < inf:
            raise ValueError(
                f"Argument 'max_delay_s' must be at least 0 and finite, not {self.max_delay_s}."
            )
        if self.queue_rows < 1:
            raise ValueError(f"Argument 'queue_rows' must be at least 1, not {self.queue_rows}.")


class Segment(NamedTuple):
    """Rows start..stop-1 of a request."""

    request: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """One batch: the segments' rows in order, then padding, are groups * q rows."""

    groups: int
    segments: tuple[Segment, ...]
    padding: int  # rows that the last group lacks; fewer than q
    earliest_deadline: float  # monotonic seconds, of the requests in it
    latest_deadline: float
    oldest_arrival: float

    @property
    def rows(self) -> int:
        """Rows of clients, without padding."""
        return sum(stop - start for _, start, stop in self.segments)


@dataclass(slots=True)
class _Waiting:
    """What is still queued of a request: rows start..stop-1."""

    start: int
    stop: int
    arrival: float
    deadline: float


class Batcher:
    """The queue of one deployment.

    Args:
        q: queries in a coding group.
        limits: of batch and queue.
    """

    def __init__(self, q: int, limits: Limits) -> None:
        if q < 1:
            raise ValueError(f"Argument 'q' must be at least 1, not {q}.")
        if limits.queue_rows < q * limits.max_groups:
            raise ValueError(
                f"Argument 'queue_rows' must hold a full batch of q * max_groups = "
                f"{q * limits.max_groups} rows, not {limits.queue_rows}."
            )
        self.q = q
        self.limits = limits
        self.queued_rows = 0  # the sum over _waiting
        self.is_draining = False
        # By request, oldest first. A plain dict's first key is slow to find after many deletions.
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()

    def add(self, request: int, rows: int, now: float, deadline: float) -> None:
        """Queue rows 0..rows-1 of a request.

        Raises:
            QueueFull: they do not fit; none is queued.
            ValueError: no rows, or the request has rows queued already.
        """
        if rows < 1:
            raise ValueError(f"Argument 'rows' must be at least 1, not {rows}.")
        if request in self._waiting:
            raise ValueError(f"Request {request} is queued already.")
        if self.queued_rows + rows > self.limits.queue_rows:
            raise QueueFull(self.queued_rows, self.limits.queue_rows)
        self._waiting[request] = _Waiting(0, rows, now, deadline)
        self.queued_rows += rows

    def drop(self, request: int) -> int:
        """Forget what is queued of a request; how many rows that was, 0 when none."""
        waiting = self._waiting.pop(request, None)
        if waiting is None:
            return 0
        rows = waiting.stop - waiting.start
        self.queued_rows -= rows
        return rows

    def drain(self) -> None:
        """From now on nothing waits for company: `take` until it gives None."""
        self.is_draining = True

    def next_due(self) -> float | None:
        """When `take` gives a plan, perhaps already past; None while nothing is queued."""
        if not self._waiting:
            return None
        oldest = next(iter(self._waiting.values())).arrival
        is_full = self.queued_rows >= self.q * self.limits.max_groups
        return oldest if is_full or self.is_draining else oldest + self.limits.max_delay_s

    def take(self, now: float) -> Plan | None:
        """The next batch: a full one, or what there is once the oldest row has waited enough."""
        due = self.next_due()
        if due is None or now < due:
            return None
        rows = min(self.queued_rows, self.q * self.limits.max_groups)
        groups = -(-rows // self.q)
        segments: list[Segment] = []
        deadlines: list[float] = []
        arrival = next(iter(self._waiting.values())).arrival
        missing = rows
        while missing:
            request, waiting = next(iter(self._waiting.items()))
            start, stop = waiting.start, min(waiting.stop, waiting.start + missing)
            segments.append(Segment(request, start, stop))
            deadlines.append(waiting.deadline)
            missing -= stop - start
            if stop == waiting.stop:
                del self._waiting[request]
            else:
                waiting.start = stop
        self.queued_rows -= rows
        return Plan(
            groups=groups,
            segments=tuple(segments),
            padding=groups * self.q - rows,
            earliest_deadline=min(deadlines),
            latest_deadline=max(deadlines),
            oldest_arrival=arrival,
        )
