"""What became of every request of a soak, and what is wrong with it.

Pure: the time is an argument. `load` tells it what clients send and get.

- LOST: neither answer nor error until MARGIN_S after its deadline.
- DUPLICATED: answered or refused twice, or under the number of another request.
- WRONG: a row that is neither what its flag promises nor missing; also an answer to a malformed
  request, and a missing row in an answer that was to be whole. A row that says *direct* must equal
  the uncoded model's up to rounding, and so must a *decoded* one of an exact code. A decoded one of
  an approximate code must state a finite expected error; `estimates` judges these together.
- UNEXPECTED: an error of a kind that a client need not expect.
- FAILED: an error, or a missing row, though the request had PATIENT_S.

While a worker lies, codes that do not bear liars promise nothing: their answers that were under way
then are counted as `unjudged`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.soak.plan import Ask
from bench.soak.systems import System, Truth
from kofn.wire.source import Source

MARGIN_S = 5.0  # a client's own event loop, on a machine that is busy
ROUNDING = 1e-3  # of the largest output; decoding in float32 at the gains of these codes
REFUSALS = frozenset({"INVALID_ARGUMENT", "NOT_FOUND"})  # of malformed requests
# A hasty request may be told that its time is up, any that its queue is full or nobody is there.
ACCEPTED = frozenset({"DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"})

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Violation:
    """Something that must not be.

    Attributes:
        kind: "lost", "duplicated", "wrong", "unexpected", "failed"; of others "memory", "tasks",
            "files", "log", "counters", "error".
        what: in words, with the request or the log line.
    """

    kind: str
    what: str


@dataclass
class Tally:
    """What one system has answered."""

    asked: int = 0  # requests, malformed ones aside
    answered: int = 0
    declared: int = 0  # failed with an error of an accepted kind
    cancelled: int = 0
    refused: int = 0  # malformed, as expected
    direct_rows: int = 0
    decoded_rows: int = 0
    missing_rows: int = 0
    unjudged_rows: int = 0
    unknown_rows: int = 0  # of requests that got no answer: the master may have counted them
    # Of each answer with decoded rows, their mean error and mean stated error, and their number.
    estimates: list[tuple[float, float, int]] = field(default_factory=list)


class Ledger:
    """The requests of a soak.

    Args:
        systems: that are asked.
        truth: what is right.
        lied_since: told a time, whether a worker lied at any moment from then until now.
    """

    def __init__(
        self,
        systems: Mapping[str, System],
        truth: Truth,
        lied_since: Callable[[float], bool] = lambda since: False,
    ) -> None:
        self.violations: list[Violation] = []
        self.tallies = {name: Tally() for name in systems}
        self.failures: Counter[str] = Counter()  # by status
        self.latencies: list[tuple[float, float]] = []  # (when it came, how long it took)
        self._systems = systems
        self._truth = truth
        self._lied_since = lied_since
        self._open: dict[int, tuple[Ask, float]] = {}  # by number: sent when
        self._ended: set[int] = set()

    @property
    def open(self) -> int:
        """Requests that have neither answer nor error."""
        return len(self._open)

    def is_open(self, number: int) -> bool:
        """This request was sent and has neither answer nor error."""
        return number in self._open

    def sent(self, ask: Ask, now: float) -> None:
        """A client sends it."""
        self._open[ask.number] = (ask, now)
        if not ask.malformed:
            self.tallies[ask.system].asked += 1

    def answered(
        self, number: int, outputs: Array, source: Array, expected_error: Array, now: float
    ) -> None:
        """An answer came under a request's number.

        Args:
            outputs: [rows, answer].
            source, expected_error: [rows].
        """
        found = self._end(number, "answered", now)
        if found is None:
            return
        ask, began = found
        if ask.malformed:
            self._wrong(ask, f"has a malformed {ask.malformed} and was answered")
            return
        tally = self.tallies[ask.system]
        tally.answered += 1
        self.latencies.append((now, now - began))
        if len(outputs) != len(ask.rows):
            self._wrong(ask, f"has {len(ask.rows)} rows and got {len(outputs)}")
            return
        source = np.asarray(source)
        direct, decoded, missing = (source == kind for kind in (Source.DIRECT, Source.DECODED, 0))
        tally.direct_rows += int(direct.sum())
        tally.decoded_rows += int(decoded.sum())
        tally.missing_rows += int(missing.sum())
        if not (direct | decoded | missing).all():
            self._wrong(ask, f"has a source that does not exist: {source.tolist()}")
        if missing.any():
            self._judge_missing(ask, int(missing.sum()))
        if not self._systems[ask.system].bears_liars and self._lied_since(began):
            tally.unjudged_rows += int((direct | decoded).sum())
            return
        self._judge_rows(ask, np.asarray(outputs), direct, decoded, np.asarray(expected_error))

    def failed(self, number: int, status: str, message: str, now: float) -> None:
        """An error came; `status` is gRPC's name of it."""
        found = self._end(number, f"failed with {status}", now)
        if found is None:
            return
        ask, _ = found
        self.failures[status] += 1
        tally = self.tallies[ask.system]
        if ask.malformed:
            tally.refused += 1
            if status not in REFUSALS:
                self._add("unexpected", ask, f"malformed {ask.malformed}: {status}: {message}")
            return
        tally.unknown_rows += len(ask.rows)
        if status not in ACCEPTED:
            self._add("unexpected", ask, f"{status}: {message}")
            return
        tally.declared += 1
        if ask.is_patient:
            self._add("failed", ask, f"{status}: {message}")

    def cancelled(self, number: int, now: float) -> None:
        """The client gave it up itself."""
        found = self._end(number, "cancelled", now)
        if found is not None:
            tally = self.tallies[found[0].system]
            tally.cancelled += 1
            tally.unknown_rows += len(found[0].rows)

    def overdue(self, now: float) -> None:
        """Name as lost what is open and late; call it now and then, and at the end."""
        late = [n for n, (ask, began) in self._open.items() if now > _due(ask, began)]
        for number in late:
            ask, began = self._open.pop(number)
            self._ended.add(number)
            self._lost(ask, f"has neither answer nor error after {now - began:.1f} s")

    def close(self) -> None:
        """No client waits for anything any more: what is open is lost."""
        for ask, _ in self._open.values():
            self._lost(ask, "never got an answer or an error")
        self._ended |= self._open.keys()
        self._open.clear()

    def _end(self, number: int, how: str, now: float) -> tuple[Ask, float] | None:
        found = self._open.pop(number, None)
        if found is None:
            known = number in self._ended
            had = "which has its end already" if known else "which nobody sent"
            self.violations.append(
                Violation("duplicated", f"request {number}, {had}, {how} at {now:.1f} s")
            )
            return None
        self._ended.add(number)
        ask, began = found
        if now > _due(ask, began):
            self._lost(ask, f"{how} after {now - began:.1f} s, too late")
        return found

    def _judge_missing(self, ask: Ask, count: int) -> None:
        if not ask.allow_partial:
            self._wrong(ask, f"was to be whole and lacks {count} rows")
        elif ask.is_patient:
            self._add("failed", ask, f"{count} rows are missing after {ask.timeout_s:g} s")

    def _judge_rows(
        self, ask: Ask, outputs: Array, direct: Array, decoded: Array, stated: Array
    ) -> None:
        system = self._systems[ask.system]
        truth = self._truth.outputs[ask.system][list(ask.rows)]
        limit = ROUNDING * self._truth.scale[ask.system]
        off = np.abs(outputs - truth).max(axis=1)
        promised = direct | decoded if system.exact else direct
        bad = np.flatnonzero(promised & ~(off <= limit))  # NaN is wrong, too
        if len(bad):
            flags = "direct" if direct[bad].all() else "decoded" if decoded[bad].all() else "both"
            self._wrong(
                ask,
                f"rows {bad.tolist()}, {flags}: off by up to {off[bad].max():.3g}, "
                f"{limit:.1g} is rounding",
            )
        if system.exact or not decoded.any():
            return
        silent = np.flatnonzero(decoded & ~np.isfinite(stated))
        if len(silent):
            self._wrong(ask, f"rows {silent.tolist()} are decoded and state no expected error")
            return
        error = ((outputs - truth)[decoded] ** 2).sum(axis=1) / self._truth.variance[ask.system]
        self.tallies[ask.system].estimates.append(
            (float(error.mean()), float(stated[decoded].mean()), int(decoded.sum()))
        )

    def _wrong(self, ask: Ask, what: str) -> None:
        self._add("wrong", ask, what)

    def _lost(self, ask: Ask, what: str) -> None:
        self._add("lost", ask, what)

    def _add(self, kind: str, ask: Ask, what: str) -> None:
        self.violations.append(Violation(kind, f"request {ask.number} to {ask.system}: {what}"))


def _due(ask: Ask, began: float) -> float:
    return began + ask.timeout_s + MARGIN_S
