"""Virtual time: what is due next is done next, and nothing takes any time meanwhile."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Call = Callable[[Any], None]


class Engine:
    """A clock and what it will do.

    Attributes:
        now: virtual seconds; only grows.
        events: done so far.
        is_over: set by whoever knows that nothing more is wanted.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.is_over = False
        self._due: list[tuple[float, int, Call, Any]] = []  # a heap; the number settles ties
        self._pushed = 0

    def at(self, when: float, call: Call, argument: Any = None) -> None:
        """Have `call(argument)` done at a second, now at the earliest; equal ones keep order."""
        self._pushed += 1
        heappush(self._due, (when, self._pushed, call, argument))

    def run(self) -> None:
        """Until it is over, or nothing is left to do."""
        due = self._due
        while due and not self.is_over:
            when, _, call, argument = heappop(due)
            if when > self.now:
                self.now = when
            self.events += 1
            call(argument)
