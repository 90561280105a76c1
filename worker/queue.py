"""The tasks that wait for the device: coalesced into batches, oldest first, dropped when useless.

Pure: decides what runs next and holds names and numbers, no tensors; the caller brings the time.
Tasks of one lane (same program, same shapes of a row) may share a forward pass. In the query's
way: between a task's arrival on a stream (`worker/service.py`) and the device (`runner.py`).
"""

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """One task in the queue.

    Attributes:
        ticket: names the task among all that wait.
        owner: names the stream it came on.
        lane: tasks of equal lane may be run as one batch.
        rows: coding groups in the task, its share of a batch's first dimension.
        arrived_s: monotonic time.
        due_s: monotonic time from which its result is of no use; infinity when there is none.
    """

    ticket: Hashable
    owner: Hashable
    lane: Hashable
    rows: int
    arrived_s: float
    due_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Taken:
    """What `Queue.take` gives: tasks to run now, as one batch, and tasks whose time was up."""

    batch: tuple[Waiting, ...] = ()
    expired: tuple[Waiting, ...] = ()


class Queue:
    """Tasks that wait.

    The lane whose first task is the oldest goes first, with as many of its tasks, in order, as fit
    into the batch. So every batch starts with the oldest task of all, and a task is overtaken only
    by younger ones that ride in the batches of older ones.

    Args:
        max_rows: most rows of a batch; a task that alone has more runs alone.
        max_tasks: most tasks that wait; further ones are refused.

    Raises:
        ValueError: a limit below 1.
    """

    def __init__(self, max_rows: int, max_tasks: int) -> None:
        for name, value in (("max_rows", max_rows), ("max_tasks", max_tasks)):
            if value < 1:
                raise ValueError(f"Argument {name!r} must be at least 1, not {value}.")
        self.max_rows = max_rows
        self.max_tasks = max_tasks
        self._arrivals = 0
        self._next_due_s = math.inf  # no task is due before; not always that of a task
        self._lane_of: dict[Hashable, Hashable] = {}  # ticket -> lane, of every task that waits
        # Lane -> its tasks by ticket, oldest first, each with its number of arrival; none is empty.
        self._lanes: dict[Hashable, OrderedDict[Hashable, tuple[int, Waiting]]] = {}

    def __len__(self) -> int:
        return len(self._lane_of)

    def __contains__(self, ticket: Hashable) -> bool:
        return ticket in self._lane_of

    def add(self, task: Waiting) -> bool:
        """Take a task in; False, and nothing changed, when the queue is full.

        Raises:
            ValueError: a task of this ticket waits already, or it has no row.
        """
        if task.ticket in self._lane_of:
            raise ValueError(f"A task {task.ticket!r} is waiting already.")
        if task.rows < 1:
            raise ValueError(f"A task must have at least 1 row, not {task.rows}.")
        if len(self._lane_of) >= self.max_tasks:
            return False
        self._arrivals += 1
        self._lane_of[task.ticket] = task.lane
        self._next_due_s = min(self._next_due_s, task.due_s)
        lane = self._lanes.setdefault(task.lane, OrderedDict())
        lane[task.ticket] = (self._arrivals, task)
        return True

    def cancel(self, tickets: Iterable[Hashable]) -> tuple[Waiting, ...]:
        """Drop those of these tasks that wait; gives them."""
        return tuple(self._remove(ticket) for ticket in tickets if ticket in self._lane_of)

    def drop(self, owner: Hashable) -> tuple[Waiting, ...]:
        """Drop all tasks of a stream; gives them."""
        return self.cancel([task.ticket for task in self._all() if task.owner == owner])

    def take(self, now: float) -> Taken:
        """Take out the next batch, and before it every task whose time is up."""
        expired = self._expire(now)
        if not self._lanes:
            return Taken((), expired)
        lane = min(self._lanes.values(), key=lambda tasks: next(iter(tasks.values()))[0])
        batch: list[Waiting] = []
        rows = 0
        for _, task in lane.values():
            if batch and rows + task.rows > self.max_rows:
                break
            batch.append(task)
            rows += task.rows
        return Taken(self.cancel([task.ticket for task in batch]), expired)

    def _expire(self, now: float) -> tuple[Waiting, ...]:
        if now < self._next_due_s:
            return ()
        expired = self.cancel([task.ticket for task in self._all() if task.due_s <= now])
        self._next_due_s = min((task.due_s for task in self._all()), default=math.inf)
        return expired

    def _all(self) -> list[Waiting]:
        return [task for lane in self._lanes.values() for _, task in lane.values()]

    def _remove(self, ticket: Hashable) -> Waiting:
        name = self._lane_of.pop(ticket)
        lane = self._lanes[name]
        _, task = lane.pop(ticket)
        if not lane:
            del self._lanes[name]
        return task
