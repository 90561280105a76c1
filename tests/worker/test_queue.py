"""The queue, over every small history and over long random ones."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.queue import Queue, Waiting

MAX_ROWS, MAX_TASKS = 3, 3


def waiting(ticket: int, lane: str = "a", rows: int = 1, due_s: float = math.inf) -> Waiting:
    """A task of an owner told by its ticket's parity."""
    return Waiting(ticket, ticket % 2, lane, rows, 0.0, due_s)


class Model:
    """The same queue as one list, by the words of its docstring."""

    def __init__(self) -> None:
        self.tasks: list[Waiting] = []

    def add(self, task: Waiting) -> bool:
        """As `Queue.add`."""
        if len(self.tasks) >= MAX_TASKS:
            return False
        self.tasks.append(task)
        return True

    def remove(self, gone: list[Waiting]) -> list[Waiting]:
        """Take these out."""
        self.tasks = [task for task in self.tasks if task not in gone]
        return gone

    def take(self, now: float) -> tuple[list[Waiting], list[Waiting]]:
        """Batch and expired."""
        expired = self.remove([task for task in self.tasks if task.due_s <= now])
        batch: list[Waiting] = []
        for task in self.tasks:
            if not batch:
                batch.append(task)
            elif task.lane == batch[0].lane:
                if sum(each.rows for each in batch) + task.rows > MAX_ROWS:
                    break
                batch.append(task)
        return self.remove(batch), expired


# An event is (verb, argument); added tasks get tickets 0, 1, 2... in order.
ADDS = [("add", (lane, rows, due)) for lane in "ab" for rows, due in ((1, math.inf), (2, 1.5))]
EVENTS = [*ADDS, ("cancel", 0), ("cancel", 1), ("drop", 1), ("take", None)]


def play(history: tuple[tuple[str, object], ...]) -> None:
    """Let queue and model live through a history; the clock moves by one at each event."""
    queue, model, tickets = Queue(MAX_ROWS, MAX_TASKS), Model(), itertools.count()
    for now, (verb, argument) in enumerate(history):
        match verb, argument:
            case "add", (str(lane), int(rows), float(due)):
                task = waiting(next(tickets), lane, rows, now + due)
                assert queue.add(task) == model.add(task)
            case "cancel", int(ticket):
                gone = [task for task in model.tasks if task.ticket == ticket]
                assert list(queue.cancel([ticket])) == model.remove(gone)
            case "drop", int(owner):
                gone = [task for task in model.tasks if task.owner == owner]
                assert sorted(queue.drop(owner), key=_ticket) == model.remove(gone)
            case "take", None:
                taken = queue.take(now)
                batch, expired = model.take(now)
                assert list(taken.batch) == batch
                assert sorted(taken.expired, key=_ticket) == expired
        assert len(queue) == len(model.tasks)
        assert all(task.ticket in queue for task in model.tasks)


def _ticket(task: Waiting) -> int:
    assert isinstance(task.ticket, int)
    return task.ticket


def test_every_history_of_five_events() -> None:
    """Queue and model agree, whatever happens."""
    played = 0
    for history in itertools.product(EVENTS, repeat=5):
        play(history)
        played += 1
    assert played == len(EVENTS) ** 5


@given(st.lists(st.sampled_from([*EVENTS, ("take", None), ("cancel", 7)]), max_size=60))
@settings(deadline=None, max_examples=200)
def test_long_histories(history: list[tuple[str, object]]) -> None:
    """The same over long ones, where deadlines pass and tickets are gone."""
    play(tuple(history))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
@settings(deadline=None)
def test_batches_start_with_the_oldest(lanes: list[str]) -> None:
    """No lane starves: each batch holds the oldest task of all, and nothing is lost."""
    queue = Queue(max_rows=2, max_tasks=100)
    for ticket, lane in enumerate(lanes):
        queue.add(waiting(ticket, lane))
    left = set(range(len(lanes)))
    while left:
        batch = queue.take(0.0).batch
        assert batch[0].ticket == min(left)
        assert len({task.lane for task in batch}) == 1
        left -= {task.ticket for task in batch}
    assert queue.take(0.0).batch == ()


def test_a_task_beyond_the_limit_runs_alone() -> None:
    """A task is never too large to run."""
    queue = Queue(max_rows=2, max_tasks=5)
    for ticket, rows in enumerate((1, 9, 1)):
        queue.add(waiting(ticket, rows=rows))
    assert [[task.ticket for task in queue.take(0.0).batch] for _ in range(3)] == [[0], [1], [2]]


def test_a_deadline_is_passed_at_its_moment() -> None:
    """Up to it a task runs; from it on it is dropped."""
    for now, runs in ((0.999, True), (1.0, False)):
        queue = Queue(2, 2)
        queue.add(waiting(0, due_s=1.0))
        taken = queue.take(now)
        assert bool(taken.batch) == runs
        assert bool(taken.expired) != runs


def test_what_is_refused() -> None:
    """Tickets twice, tasks without rows, limits below one."""
    queue = Queue(1, 1)
    queue.add(waiting(0))
    with pytest.raises(ValueError, match="waiting already"):
        queue.add(waiting(0))
    with pytest.raises(ValueError, match="at least 1 row, not 0"):
        queue.add(waiting(1, rows=0))
    with pytest.raises(ValueError, match="'max_rows' must be at least 1, not 0"):
        Queue(0, 1)
    with pytest.raises(ValueError, match="'max_tasks' must be at least 1, not 0"):
        Queue(1, 0)
