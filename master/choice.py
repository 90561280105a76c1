"""Which slots a coded batch sends, again or for the first time: as few as its answers need.

`gather` says when and asks here; nothing but the purse of extra tasks is changed. Own slots come
before others, since an own answer is better than a decoded one.
"""

from collections.abc import Callable, Iterable, Mapping

from master.extras import Extras
from master.gains import Gains, bits, mask
from master.policy import Policy
from master.progress import Progress
from master.screening import Screen

MOST_DOUBTS = 5  # slots that may come or not, 32 ways; of more, the likely ones come

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

    def needed(self, slots: int) -> int:
        """Of a mask of slots, the first ones that give every pending answer: own slots, where an
        answer has some."""
        pending, own = tuple(bits(self._at.pending)), self._gains.own

        def is_enough(chosen: int) -> bool:
            return all(chosen & own[j] if own[j] else self._gives(j, chosen) for j in pending)

        return mask(fewest(list(bits(slots)), 0, is_enough))

    def extras(self, extras: Extras, now: float) -> list[int]:
        """What to send beside late slots: one after the other, what is expected to give the most
        answers a task, as long as that is worth its price."""
        purse = extras.purse
        if not purse.can_pay(1):
            return []
        late = self._at.late(now - extras.again_s / 2)
        hopes = {
            s: extras.hope(now - self._at.sent_at[s]) if late >> s & 1 else extras.new
            for s in bits(self._at.out)
        }
        known: dict[int, int] = {}
        expected = self._expected(hopes, known)
        chosen: list[int] = []
        while options := [o for o in self._options(late, chosen) if purse.can_pay(len(o))]:
            hoped = [_hoping(hopes, slots, extras.new) for slots in options]
            totals = [self._expected(then, known) for then in hoped]
            gains = [(t - expected) / len(o) for t, o in zip(totals, options, strict=True)]
            if max(gains) < purse.price:
                break
            # Of equals the first: an own slot. Chances are added up in any order.
            best = next(i for i, gain in enumerate(gains) if gain > max(gains) - 1e-9)
            purse.spend(len(options[best]))
            chosen += options[best]
            hopes, expected = hoped[best], totals[best]
        return chosen

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
        """Late slots to send again; spare ones in their place, where there are any."""
        out = self._at.out
        late = self.sendable(out)
        if self._policy.wait == "all":
            return late
        instead = self._best_spares(out.bit_count())
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

    def _options(self, late: int, chosen: list[int]) -> list[list[int]]:
        """What could be sent next: each own slot of a pending answer that is late or lost, or as
        few others as give all answers together with what came and what is sent anew; where those
        do that are chosen, one other, should one of them straggle, too."""
        own = mask(s for j in bits(self._at.pending) for s in bits(self._gains.own[j]))
        idle = ((1 << self._gains.sent) - 1) & ~(self._at.came | self._at.out)
        again = self.sendable((late | idle) & own)
        others = self.sendable(idle & ~own) + self._best_spares(late.bit_count())
        others += self.sendable(late & ~own)
        again, others = ([s for s in slots if s not in chosen] for slots in (again, others))
        given = self._at.came | (self._at.out & ~late) | mask(chosen)
        pending = tuple(bits(self._at.pending))

        def is_enough(slots: int) -> bool:
            return all(self._gives(j, slots) for j in pending)

        options = [[slot] for slot in again]
        if chosen and is_enough(given):
            return options + [[slot] for slot in others[:1]]
        together = fewest([*others, *again], given, is_enough)
        if together and is_enough(given | mask(together)):
            options.append(together)
        return options

    def _expected(self, hopes: Mapping[int, float], known: dict[int, int]) -> float:
        """Pending answers that are there soon, on average, if each slot replies by its chance.

        Args:
            hopes: chance by slot.
            known: answers by mask of responders, of this batch at this moment; grows.
        """
        by_doubt = sorted(hopes, key=lambda s: abs(hopes[s] - 0.5))
        sure = self._at.came | mask(s for s in by_doubt[MOST_DOUBTS:] if hopes[s] >= 0.5)
        worlds = {sure: 1.0}
        for slot in by_doubt[:MOST_DOUBTS]:
            chance, bit = hopes[slot], 1 << slot
            worlds = {
                came | new: p * weight
                for came, p in worlds.items()
                for new, weight in ((0, 1.0 - chance), (bit, chance))
                if weight > 0.0
            }
        for came in worlds.keys() - known.keys():
            known[came] = sum(self._gives(j, came) for j in bits(self._at.pending))
        return sum(p * known[came] for came, p in worlds.items())

    def _gives(self, answer: int, slots: int) -> bool:
        """Whether responders give this answer once patience has ended."""
        if slots & self._gains.own[answer]:
            return True
        return slots.bit_count() >= self.wished and self._gains.has(answer, slots)

    def _best_spares(self, count: int) -> list[int]:
        """Spare slots not sent yet, each the one that lowers the worst gain the most with those
        that came and those chosen before."""
        spares = range(self._gains.sent, self._gains.n)
        pending = tuple(bits(self.decodable))
        left = [slot for slot in spares if not self._at.sends[slot]] if pending else []
        chosen: list[int] = []

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


def _hoping(hopes: Mapping[int, float], slots: Iterable[int], chance: float) -> dict[int, float]:
    """The hopes once these slots are sent too."""
    more = dict(hopes)
    for slot in slots:
        more[slot] = 1.0 - (1.0 - more.get(slot, 0.0)) * (1.0 - chance)
    return more


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
