"""Which slots a coded batch sends, again or for the first time: as few as its answers need.

`gather` says when and asks here; nothing is changed here. Own slots come before others, since an
own answer is better than a decoded one.
"""

from collections.abc import Callable

from master.gains import Gains, bits, mask
from master.policy import Policy
from master.progress import Progress
from master.screening import Screen

Serves = Callable[[int], bool]  # of a mask of responders


class Choice:
    """The choices of one coded batch.

    Args:
        gains: of the code.
        policy: how patient to be.
        screen: of its responders, where liars are looked for.
        at: how far the batch has come.
    """

    def __init__(self, gains: Gains, policy: Policy, screen: Screen | None, at: Progress) -> None:
        self._gains = gains
        self._policy = policy
        self._screen = screen
        self._at = at

    @property
    def wished(self) -> int:
        """Responders to wait for, as long as they can come."""
        needed = 0 if self._screen is None else self._screen.needed
        return max(self._policy.recovery_threshold or 1, needed)

    @property
    def decodable(self) -> int:
        """Pending answers that other slots than their own can give."""
        return self._at.pending & ~self._gains.own_only

    def has(self, answer: int, slots: int) -> bool:
        """Whether a mask of responders gives this answer, if those lie that may."""
        is_possible = self._screen is None or self._screen.is_possible(slots)
        return is_possible and self._gains.has(answer, slots)

    def replacements(self) -> tuple[list[int], list[int]]:
        """In place of lost slots: what to send so that every pending answer can come, and the
        answers that cannot."""
        available = self._at.came | self._at.out
        needed = self.wished if self._screen is not None or self.decodable else 0
        short = [j for j in bits(self._at.pending) if not self.has(j, available)]
        if not short and available.bit_count() >= needed:
            return [], []
        spare = self.sendable(~available)
        with_spare = available | mask(spare)
        hopeless = [j for j in short if not self.has(j, with_spare)]
        short = [j for j in short if j not in hopeless]
        needed = min(needed, with_spare.bit_count())

        def is_enough(slots: int) -> bool:
            return slots.bit_count() >= needed and all(self.has(j, slots) for j in short)

        return fewest(spare, available, is_enough), hopeless

    def hedges(self) -> list[int]:
        """Late slots to send once more; spare ones in their place, where there are any."""
        out = self._at.out
        late = self.sendable(out)
        if self._policy.wait == "all":
            return late
        instead = self._best_spares(out.bit_count()) if self.decodable else []
        late = instead + late[len(instead) :]
        return fewest(late, self._at.came, self._is_served(self._at.came | mask(late)))

    def pointless(self, slots: int) -> int:
        """Of these slots, those that no pending answer can use."""
        if self._at.pending and (self._policy.wait == "all" or self._screen is not None):
            return 0
        if self.decodable:
            return 0  # any slot may help to decode
        for answer in bits(self._at.pending):
            slots &= ~self._gains.own[answer]
        return slots

    def sendable(self, slots: int) -> list[int]:
        """Of a mask of slots, those with a send left: own slots first, then the least sent."""
        wanted = 0
        for answer in bits(self._at.pending):
            wanted |= self._gains.own[answer]
        sends = self._at.sends
        left = (s for s, count in enumerate(sends) if count < self._policy.max_sends)
        own_first = sorted(left, key=lambda s: (not wanted >> s & 1, sends[s], s))
        return [s for s in own_first if slots >> s & 1]

    def _best_spares(self, count: int) -> list[int]:
        """Spare slots not sent yet, each the one that lowers the worst gain the most with those
        that came and those chosen before."""
        spares = range(self._gains.sent, self._gains.n)
        left = [slot for slot in spares if not self._at.sends[slot]]
        chosen: list[int] = []
        pending = tuple(bits(self.decodable))

        def worst_gain(slot: int) -> float:
            gains = self._gains.of(self._at.came | mask([*chosen, slot]))
            return max(gains[answer] for answer in pending)

        while left and len(chosen) < count:
            best = min(left, key=worst_gain)
            left.remove(best)
            chosen.append(best)
        return chosen

    def _is_served(self, attainable: int) -> Serves:
        """Whether responders would do for every pending answer, as far as `attainable` would."""
        gains, policy = self._gains, self._policy
        # An estimate is second best where there is patience, so that a late own slot is hedged.
        prefers_own = policy.wait == "soft" and not gains.exact
        threshold = min(self.wished, attainable.bit_count())

        def serves(answer: int, slots: int) -> bool:
            own = gains.own[answer]
            if slots & own or not gains.has(answer, attainable):
                return True
            if (prefers_own and attainable & own) or not gains.has(answer, slots):
                return False
            limit = policy.gain_limit
            return gains.of(slots)[answer] <= limit or gains.of(attainable)[answer] > limit

        def is_served(slots: int) -> bool:
            if self.decodable and slots.bit_count() < threshold:
                return False
            return all(serves(answer, slots) for answer in bits(self._at.pending))

        return is_served


def fewest(candidates: list[int], given: int, is_enough: Serves) -> list[int]:
    """Early candidates that with the given slots are enough, and none that is not needed."""
    chosen: list[int] = []
    for slot in candidates:
        if is_enough(given | mask(chosen)):
            break
        chosen.append(slot)
    for slot in reversed(chosen.copy()):
        if is_enough(given | mask(s for s in chosen if s != slot)):
            chosen.remove(slot)
    return chosen
