"""What comes of one coded batch's results being judged: who is set aside, forgotten, told on.

It stands between `scatter`, whose commands from `gather` it carries out, and the code, which finds
what is wrong; the pool learns of every worker whether it was honest. Who is not trusted is doubted
before the code is asked.
"""

from collections.abc import Sequence

import structlog

from codes.locating import TooManyErrors
from master.events import Doubted, Judged, Replied
from master.pool import Pool
from master.results import Results
from master.sends import Sends
from master.trust import LIMIT

log = structlog.get_logger(__name__)


class Jury:
    """The judging of one batch.

    Args:
        results: of the batch.
        sends: of the batch: whoever lied gets no more of them.
        pool: of workers, who are trusted the less for it.
        needed: workers that must stay in the pool, whoever lies.
        share: of honest batches in which a result may be set aside.
    """

    def __init__(
        self, results: Results, sends: Sends, pool: Pool, needed: int, share: float
    ) -> None:
        self._results = results
        self._sends = sends
        self._pool = pool
        self._needed = needed
        self._share = share
        self._honest: set[str] = set()  # workers of which the pool was told so, once a batch
        self._liars: set[str] = set()

    def judge(
        self, slots: Sequence[int], most: int, sure: Sequence[int], **about: object
    ) -> Judged:
        """Find the wrong results and forget them; `about`: what a log line says of the batch."""
        try:
            lied = self._results.locate(slots, most, sure)
        except TooManyErrors as error:
            log.warning("too-many-errors", **about, reason=str(error))
            return Judged(tuple(slots), None)
        for slot in slots:
            self._tell(self._results.workers[slot], lied=slot in lied)
        for slot in lied:
            self._results.forget(slot)
        return Judged(tuple(slots), lied)

    def doubt(self, slots: Sequence[int], settled: Sequence[int]) -> Doubted:
        """Find the result that is worth having twice, and set it aside: that of a worker who lied
        just now or most of the time lately, or the one that the code doubts."""
        suspects = (slot for slot in slots if slot not in settled and self._is_suspect(slot))
        slot = next(suspects, None)
        if slot is None:
            slot = self._results.doubt(slots, self._share, settled)
        if slot is not None:
            self._sends.elsewhere(slot, self._results.set_aside(slot))
        return Doubted(tuple(slots), slot)

    def replied(self, slot: int) -> Replied:
        """A slot's result is in: where it is its second, the two are compared."""
        first = self._results.aside(slot)
        liar = None if first is None else self._results.compare(slot)
        if liar is None:
            return Replied(slot)
        self._tell(liar, lied=True)
        for other in self._results:
            self._tell(self._results.workers[other], lied=False)
        return Replied(slot, replaces_lie=liar == first)

    def _is_suspect(self, slot: int) -> bool:
        worker = self._results.workers[slot]
        return worker in self._liars or self._pool.trust.score(worker) <= LIMIT

    def _tell(self, address: str, *, lied: bool) -> None:
        if lied:
            self._liars.add(address)
            self._sends.avoid(address)
        elif address in self._honest | self._liars:
            return
        else:
            self._honest.add(address)
        self._pool.heard(address, lied=lied, needed=self._needed)
