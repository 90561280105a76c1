"""The tasks that a worker has of one stream: each ends once, and counts until nothing of it runs.

It stands beside `link`, which moves messages: told what was sent, cancelled and heard of. It knows
no message and reads no clock.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Ended = Callable[[T | None], None]  # told the result; None: the task came to nothing


class InHand(Generic[T]):
    """Tasks by id; of results nothing is known but that they are given on."""

    def __init__(self) -> None:
        # Tasks whose end nobody has heard of: whom to tell, and when they were sent.
        self._in_flight: dict[int, tuple[Ended[T], float]] = {}
        # Tasks that nobody wants any more and the worker may be busy with: whom to tell of the end.
        self._leaving: dict[int, Callable[[], None]] = {}
        self._released: set[int] = set()  # in flight, and the worker has dropped them by itself

    def __len__(self) -> int:
        """Tasks sent and neither answered, lost nor cancelled."""
        return len(self._in_flight)

    def __contains__(self, task_id: int) -> bool:
        """Whether it is one of these."""
        return task_id in self._in_flight

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of any task, cancelled ones included."""
        return not (self._in_flight or self._leaving or self._released)

    def sent(self, task_id: int, then: Ended[T], sent_at: float) -> None:
        """A task leaves; `then` is called once, unless it is cancelled first."""
        self._in_flight[task_id] = (then, sent_at)

    def cancel(self, task_id: int, released: Callable[[], None]) -> bool:
        """Nobody wants it any more.

        Args:
            task_id: in flight.
            released: called once, perhaps at once, when nothing of it runs at the worker any more.

        Returns:
            Whether the worker must be told.

        Raises:
            KeyError: it is not in flight.
        """
        del self._in_flight[task_id]
        if task_id in self._released:
            self._released.remove(task_id)
            released()
            return False
        self._leaving[task_id] = released
        return True

    def is_leaving(self, task_id: int) -> bool:
        """Whether it was cancelled, and the worker may be busy with it."""
        return task_id in self._leaving

    def answered(self, task_id: int) -> tuple[Ended[T], float] | None:
        """Its result came: whom to tell, and when it was sent; None where nobody wants it."""
        waiting = self._in_flight.pop(task_id, None)
        if waiting is None:
            self.released(task_id)  # the worker had not heard yet that it was cancelled
        return waiting

    def released(self, task_id: int) -> None:
        """Nothing of it runs any more, and no result will come."""
        if task_id in self._in_flight:
            self._released.add(task_id)
        elif (released := self._leaving.pop(task_id, None)) is not None:
            released()

    def lose(self) -> int:
        """The stream broke: all end here. Gives how many were in flight.

        Hearing of a loss, a batch may cancel others of these.
        """
        losses = 0
        while self._in_flight:
            then, _ = self._in_flight.pop(next(iter(self._in_flight)))
            losses += 1
            then(None)
        while self._leaving:
            self._leaving.popitem()[1]()
        self._released.clear()
        return losses
