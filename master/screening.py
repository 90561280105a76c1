"""What one coded batch knows of lies: how many it has met, and which responders it may believe.

It stands beside `gather`, which asks it, and judges nothing: that is the code's, over the results
themselves. An error located is an erasure: a liar that was found costs one slot, one that was not
yet found costs two. Where a code cannot prove who lied, results that seem to be wrong are asked for
again, of another worker, before anybody is accused.
"""

from master.events import Doubt, Judge
from master.gains import Gains, bits

MOST_RECHECKS = 3  # of a batch, one after the other


class Screen:
    """The screening of one batch's responders.

    Args:
        gains: of the code.
        liars: wrong results that the batch must survive, at least 1.
        rechecks: whether a result may be asked for again.
    """

    def __init__(self, gains: Gains, liars: int, rechecks: bool) -> None:
        self._exact = gains.exact
        self._fewest = gains.fewest  # responders, all of them honest
        self._liars = liars
        self.found = 0  # results that were located; only grows
        self._believed = 0  # responders that were judged together, without those who lied
        self._doubted = 0  # responders that do not fit together, and nobody knows why
        self._rechecks = MOST_RECHECKS if rechecks and not gains.exact else 0  # left
        self._asked = 0  # whose results were asked for again, ever
        self._sure = 0  # and came: who gave the other one does not matter
        self._cleared = 0  # responders of whom none is worth asking for again
        self.rechecked = 0  # the one that is set aside until another worker gives it

    def __repr__(self) -> str:
        """What it waits for, as a reason says it."""
        liars = "1 liar" if self._liars == 1 else f"{self._liars} liars"
        return f"{self._fewest} + 2 x {self._left} are needed against {liars}"

    @property
    def _left(self) -> int:
        return max(0, self._liars - self.found)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last ones judged did not fit together, and nobody could tell why."""
        return self._doubted != 0

    @property
    def needed(self) -> int:
        """Responders to judge, and then to answer from."""
        more_than_doubted = self._doubted.bit_count() + 1 if self._doubted else 0
        return max(self._fewest + 2 * self._left, more_than_doubted)

    def is_possible(self, slots: int) -> bool:
        """Whether a mask of responders may be answered from, should they be judged to be honest."""
        return slots != self._doubted and (not self._exact or slots.bit_count() >= self.needed)

    def is_believed(self, slots: int) -> bool:
        """Whether nothing more is to be found among a mask of responders."""
        return slots == self._believed or (not self._exact and not self._left)

    def question(self, slots: int, sendable: int) -> Doubt | Judge:
        """What to ask of a mask of responders; `sendable`: those that may be asked for again."""
        again = slots & sendable & ~self._asked
        if self._rechecks and again and slots != self._cleared:
            return Doubt(tuple(bits(slots)), tuple(bits(slots & ~again)))
        return Judge(tuple(bits(slots)), self._most(slots), tuple(bits(slots & self._sure)))

    def recheck(self, slot: int) -> None:
        """The result of this slot is set aside."""
        self._rechecks -= 1
        self.rechecked = 1 << slot
        self._asked |= self.rechecked

    def settle(self, was_lie: bool) -> None:
        """Another worker was heard on what was set aside, which was a lie or was not."""
        self.found += was_lie
        self._sure |= self.rechecked
        self.rechecked = 0

    def clear(self, slots: int) -> None:
        """None of a mask of responders is in doubt; they are judged all the same."""
        self._cleared = slots

    def recall(self) -> int:
        """No other worker gave it: it counts, and is in doubt. The slot."""
        (slot,) = bits(self.rechecked)
        self.rechecked = 0
        return slot

    def _most(self, slots: int) -> int:
        """How many of a mask of responders may be found to lie.

        An exact code proves what it finds, so that it may find more than it was asked for where
        enough have replied. Another never accuses more.
        """
        spare = (slots.bit_count() - self._fewest) // 2 if self._exact else 0
        return max(self._left, spare)

    def take(self, slots: int, lied: int | None) -> None:
        """A mask of responders was judged, and these of them lied; None: it cannot be told."""
        if lied is None:
            self._doubted = slots
            return
        self.found += lied.bit_count()
        self._doubted = 0
        self._believed = slots & ~lied
