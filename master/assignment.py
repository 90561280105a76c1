"""Which worker takes which slot: distinct, who will have done it first before others.

It stands beside `scatter`: told who joins and leaves, what was sent and what ended. It opens no
connection and knows no shard, so that every history of comings and goings can be tested.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from typing import Literal

from master.ranking import Ranking

State = Literal["live", "frozen", "quarantined", "draining", "gone"]

LATE_TIMES = 4.0  # a late task takes so much longer, it is assumed
LATE_FACTOR = 2.0  # times the median: a slot that takes longer was late
FORGIVENESS = 0.998  # of a group: a late worker that nobody needs is tried again
MEMORY = 0.9  # weight of what was seen of a worker before: about the last ten tasks count


@dataclass(slots=True)
class _Worker:
    """One worker, kept until it has left and all that it was sent has ended."""

    state: State
    outstanding: int  # sends without an end, cancelled ones too that run still
    sends: int  # ever; breaks ties for resends
    lateness: float = 0.0  # share of its tasks that were late, lately

    @property
    def wait(self) -> int:
        """Until a task sent to it now would be back, in tenths of a usual task's time."""
        return round(10 * (self.outstanding + 1) * (1 + LATE_TIMES * self.lateness))


class Assignment:
    """The workers that may be sent work, and how much of it each has.

    The n slots of a group go to distinct workers, to those that will have done them first, by what
    each has to do and how often it was late. The last slots, which are parities and copies, go to
    the slowest of them: a straggler that holds one costs neither time nor accuracy. Of equals the
    first choice moves on with every group, so that own slots and parities visit all of them.
    """

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        # Live workers by turn, ascending; with every group the first one's becomes the last.
        self._order: OrderedDict[str, int] = OrderedDict()
        self._turns = count()
        self._waiting = 0  # tasks of live workers
        # Live workers, kept by `_rank`.
        self._by_wait = Ranking()  # for slots of a group
        self._by_need = Ranking()  # for resends and hedges
        self._by_sends = Ranking()

    def __len__(self) -> int:
        """How many workers may be sent work."""
        return len(self._order)

    def __repr__(self) -> str:
        """Every worker's state and load, for tests and logs."""
        workers = sorted(self._workers.items())
        inner = ", ".join(f"{name}: {w.state} {w.outstanding}" for name, w in workers)
        return f"Assignment({inner})"

    def join(self, worker: str) -> None:
        """It may be sent work from now on, whatever it was before."""
        known = self._workers.get(worker)
        if known is None:
            # It begins with the least sends seen, or it would get every resend until it caught up.
            least = [self._workers[name].sends for name in self._by_sends.least(1)]
            known = self._workers[worker] = _Worker("live", 0, *(least or [0]))
        known.state = "live"
        if worker not in self._order:
            self._order[worker] = next(self._turns)
            self._waiting += known.outstanding
            self._rank(worker, known)

    def drain(self, worker: str) -> None:
        """It finishes what it has and gets nothing new. Unknown workers are ignored."""
        self._rest(worker, "draining")

    def freeze(self, worker: str) -> None:
        """It seems not to move: nothing new until it joins again. Unknown workers are ignored."""
        self._rest(worker, "frozen")

    def quarantine(self, worker: str) -> None:
        """It is not believed: nothing new until `release`. Unknown workers are ignored."""
        self._rest(worker, "quarantined")

    def release(self, worker: str) -> bool:
        """Let it in again, if nothing but its quarantine keeps it out; whether that is so."""
        known = self._workers.get(worker)
        if known is None or known.state != "quarantined":
            return False
        self.join(worker)
        return True

    def leave(self, worker: str) -> None:
        """It is gone; ends of what it was sent may still be told. Unknown workers are ignored."""
        self._rest(worker, "gone")
        self._forget_if_over(worker)

    def assign(self, n: int) -> tuple[str | None, ...]:
        """A worker for each of n slots; None for the last ones when workers are too few.

        It counts nothing as sent: say `sent` for each send that really leaves.
        """
        chosen = self._by_wait.least(n)
        first = next(iter(self._order), None)
        if first is not None:
            self._order[first] = next(self._turns)
            self._order.move_to_end(first)
            # Each is met once in as many groups as there are workers.
            self._workers[first].lateness *= FORGIVENESS ** len(self._order)
            self._rank(first, self._workers[first])
        return (*chosen, *[None] * (n - len(chosen)))

    def another(self, *avoided: Collection[str]) -> str | None:
        """A worker for a resend or a hedge: outside the first of `avoided` that leaves one.

        The one that will have done it first; of equals the one that was sent least. Any live one
        when `avoided` leaves none; None when no worker is live.
        """
        for exclude in (*avoided, ()):
            for name in self._by_need.least(1, exclude):
                return name
        return None

    def sent(self, worker: str) -> None:
        """One task left for it.

        Raises:
            KeyError: it never joined, or it left with nothing outstanding.
        """
        known = self._workers[worker]
        known.outstanding += 1
        known.sends += 1
        self._waiting += worker in self._order
        self._rank(worker, known)

    def done(self, worker: str) -> None:
        """One task that was sent to it has ended, however it ended.

        Raises:
            ValueError: it has none outstanding: an end was told twice.
        """
        known = self._workers.get(worker)
        if known is None or known.outstanding == 0:
            raise ValueError(f"Worker {worker!r} has no task outstanding that could end.")
        known.outstanding -= 1
        self._waiting -= worker in self._order
        self._rank(worker, known)
        self._forget_if_over(worker)

    def observe(self, worker: str, was_late: bool) -> None:
        """A task of its was late or was not. Unknown workers are ignored."""
        known = self._workers.get(worker)
        if known is not None:
            known.lateness = MEMORY * known.lateness + (1 - MEMORY) * was_late
            self._rank(worker, known)

    def outstanding(self, worker: str) -> int:
        """Tasks sent to it without an end; 0 for an unknown worker."""
        known = self._workers.get(worker)
        return 0 if known is None else known.outstanding

    @property
    def queue(self) -> float:
        """Tasks that a live worker has to do, on average; 0 without any."""
        return self._waiting / max(1, len(self._order))

    def check(self) -> None:
        """Assert what must hold between any two calls."""
        live = {name for name, known in self._workers.items() if known.state == "live"}
        assert live == set(self._order), (live, self._order)
        waiting = sum(self._workers[name].outstanding for name in live)
        assert self._waiting == waiting, f"{self._waiting} tasks wait, not {waiting}"
        turns = list(self._order.values())
        assert turns == sorted(set(turns)), f"{turns} do not ascend"
        rankings = self._by_wait, self._by_need, self._by_sends
        before = [ranking.keys for ranking in rankings]
        for name in live:
            self._rank(name, self._workers[name])
        for ranking, keys in zip(rankings, before, strict=True):
            assert keys.keys() == live, f"{set(keys)} are ranked, not {live}"
            assert ranking.keys == keys, f"{keys} is outdated"
        for name, known in self._workers.items():
            assert known.outstanding >= 0, f"{name} has {known.outstanding} outstanding"
            assert known.state != "gone" or known.outstanding > 0, f"{name} is not forgotten"

    def _rank(self, name: str, known: _Worker) -> None:
        """Something of it has changed that decides when it is next; nothing, unless it is live."""
        turn = self._order.get(name)
        if turn is not None:
            self._by_wait.put(name, (known.wait, turn))
            self._by_need.put(name, (known.wait, known.sends, turn))
            self._by_sends.put(name, (known.sends,))

    def _rest(self, worker: str, state: State) -> None:
        known = self._workers.get(worker)
        if known is None or known.state == "gone":
            return
        known.state = state
        if self._order.pop(worker, None) is not None:
            self._waiting -= known.outstanding
            for ranking in (self._by_wait, self._by_need, self._by_sends):
                ranking.drop(worker)

    def _forget_if_over(self, worker: str) -> None:
        known = self._workers.get(worker)
        if known is not None and known.state == "gone" and known.outstanding == 0:
            del self._workers[worker]
