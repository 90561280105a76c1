"""How far each worker is believed, by what was found in its results: score, quarantine, probation.

It stands beside the pool, which tells it of every result that was judged and obeys. It knows no
slots and no tensors, and time is an argument, so that every history can be tested. A worker is
known by its address: one that was started again at the same place has the same past.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

MEMORY = 0.8  # weight of what was seen before: about the last five results count
LIMIT = 0.5  # four lies in a row bring a score from 1 below it, a false alarm now and then does not
PROVEN = 0.9  # eight honest results in a row bring a score from LIMIT above it
FIRST_QUARANTINE_S = 30.0  # each further one is twice as long ...
LONGEST_QUARANTINE_S = 3600.0  # ... up to this

Standing = Literal["trusted", "quarantined", "on probation"]


@dataclass(slots=True)
class _Record:
    """What is known of one worker."""

    score: float = 1.0  # in 0..1: its share of honest results, lately
    lies: int = 0  # ever found
    standing: Standing = "trusted"
    quarantines: int = 0  # since it was trusted last
    until: float = inf  # when the present quarantine ends


class Trust:
    """The workers' standing.

    A worker whose score falls below LIMIT is quarantined, and let in again after a while with a
    score of LIMIT: one more lie puts it back, for twice as long, until it has proved itself.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __repr__(self) -> str:
        """Every score and standing, for tests and logs."""
        records = sorted(self._records.items())
        inner = ", ".join(f"{name}: {r.standing} {r.score:.2f}" for name, r in records)
        return f"Trust({inner})"

    def heard(self, worker: str, lied: bool, has_spare: bool, now: float) -> bool:
        """A result of its was judged.

        Args:
            worker: any; one that is new is trusted.
            lied: it was found to be wrong.
            has_spare: the other workers suffice without it; else it is never quarantined.
            now: monotonic seconds.

        Returns:
            Whether it is quarantined from now on.
        """
        record = self._records.setdefault(worker, _Record())
        record.lies += lied
        if record.standing == "quarantined":
            return False  # it was sent before
        record.score = MEMORY * record.score + (1 - MEMORY) * (not lied)
        if lied and has_spare and record.score < LIMIT:
            span_s = FIRST_QUARANTINE_S * 2.0**record.quarantines
            record.until = now + min(span_s, LONGEST_QUARANTINE_S)
            record.standing = "quarantined"
            record.quarantines += 1
            return True
        if record.score > PROVEN:
            record.standing, record.quarantines = "trusted", 0
        return False

    def release(self, now: float) -> list[str]:
        """Workers whose quarantine has ended: on probation from now on."""
        due = [name for name, record in self._records.items() if record.until <= now]
        for name in due:
            record = self._records[name]
            record.standing, record.score, record.until = "on probation", LIMIT, inf
        return due

    def next_due(self) -> float | None:
        """When the next quarantine ends; None when there is none."""
        ends = min((record.until for record in self._records.values()), default=inf)
        return None if ends == inf else ends

    def forget(self, worker: str) -> None:
        """It will not come back. Unknown workers are ignored."""
        self._records.pop(worker, None)

    def score(self, worker: str) -> float:
        """In 0..1; 1 for an unknown worker."""
        record = self._records.get(worker)
        return 1.0 if record is None else record.score

    def lies(self, worker: str) -> int:
        """Results of its that were found to be wrong, ever."""
        record = self._records.get(worker)
        return 0 if record is None else record.lies

    def standing(self, worker: str) -> Standing:
        """Of an unknown worker: trusted."""
        record = self._records.get(worker)
        return "trusted" if record is None else record.standing
