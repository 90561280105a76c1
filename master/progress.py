"""How far one coded batch has come: what was sent, what replied, which answers are open.

Facts about slots and answers, as bit masks, so that an event costs little at any n. `gather`
changes them and `choice` reads them; nothing is decided here.
"""

from master.gains import Gains, bits, mask


class Progress:
    """The state of one coded batch.

    Args:
        gains: of the code.
        wanted: mask of the answers that someone waits for.

    Attributes:
        pending: answers neither given nor failed; only shrinks.
        came: slots that replied and were not found to lie.
        had: answers that are some result of `came`.
        out: slots with an open send and no reply.
        reserve: slots that wait for their first send, though they are not spare.
        open: sends of a slot without an end; 0 once it replied or was let go.
        sends: of a slot, ever.
        sent_at: monotonic seconds of a slot's last send.
    """

    def __init__(self, gains: Gains, wanted: int) -> None:
        self._answers = gains.answers
        self.pending = wanted
        self.came = self.had = self.out = self.reserve = 0
        self.open = [0] * gains.n
        self.sends = [0] * gains.n
        self.sent_at = [0.0] * gains.n

    def sent(self, slot: int, now: float) -> int:
        """A slot is sent; which attempt it is."""
        attempt = self.sends[slot]
        self.sends[slot] += 1
        self.sent_at[slot] = now
        self.open[slot] += 1
        self.out |= 1 << slot
        self.reserve &= ~(1 << slot)
        return attempt

    def replied(self, slot: int) -> bool:
        """A slot replied; whether other sends of it are still open. A second reply is nothing."""
        if self.came >> slot & 1:
            return False
        self.came |= 1 << slot
        self.had |= self._answers[slot]
        self.out &= ~(1 << slot)
        has_others, self.open[slot] = self.open[slot] > 1, 0
        return has_others

    def lost(self, slot: int) -> bool:
        """One open send of a slot came to nothing; whether it was the slot's last."""
        self.open[slot] -= 1
        if self.open[slot]:
            return False
        self.out &= ~(1 << slot)
        return True

    def let_go(self, slots: int) -> None:
        """Nothing of a mask of slots is waited for any more."""
        self.out &= ~slots
        for slot in bits(slots):
            self.open[slot] = 0

    def forget(self, liars: int) -> None:
        """The results of a mask of responders are wrong."""
        self.came &= ~liars
        self.had = mask(j for slot in bits(self.came) for j in bits(self._answers[slot]))

    def late(self, since: float) -> int:
        """Slots that are out and were not sent again after `since`."""
        return mask(slot for slot in bits(self.out) if self.sent_at[slot] <= since)
