"""Requests in virtual time, and what is counted of them."""

from collections.abc import Callable
from dataclasses import dataclass

from simulator.outcome import Outcome


@dataclass(eq=False, slots=True)
class Request:
    """One client's rows.

    Attributes:
        number: in order of arrival.
        arrived, deadline: virtual seconds.
        pending: answers neither given nor failed.
        outcome: where it is counted; None: it is not.
        on_done: told once, when nothing is pending any more or its time is up.
    """

    number: int
    arrived: float
    deadline: float
    pending: int
    outcome: Outcome | None
    on_done: Callable[["Request"], None]
    is_done: bool = False

    def answered(self, answers: int, gain: float, now: float) -> None:
        """Some of its answers are here: direct ones, of gain 0, or decoded."""
        if self.is_done:
            return
        if self.outcome is not None:
            if gain:
                self.outcome.decoded += answers
                self.outcome.gain_sum += gain * answers
            else:
                self.outcome.direct += answers
        self._settle(answers, now)

    def failed(self, answers: int, now: float) -> None:
        """Some of its answers will never come."""
        if self.is_done:
            return
        if self.outcome is not None:
            self.outcome.missing += answers
        self._settle(answers, now)

    def expire(self, now: float) -> None:
        """Its time is up."""
        if not self.is_done:
            self.failed(self.pending, now)

    def _settle(self, answers: int, now: float) -> None:
        self.pending -= answers
        if self.pending:
            return
        self.is_done = True
        if self.outcome is not None:
            self.outcome.latency.add(now - self.arrived)
        self.on_done(self)
