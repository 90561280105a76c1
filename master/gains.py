"""What a code says of responder sets, remembered: the one question that `gather` asks of it.

It computes no gain itself and decides nothing. Sets of slots and of answers are bit masks here, so
that looking one up costs little at any n.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Protocol

GAINS_KEPT = 4096  # responder sets; all of them for n = 12, about 1 MB for k = 8


class Decodable(Protocol):
    """What the decisions read of a code; `codes.base.Code` has it."""

    @property
    def k(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def exact(self) -> bool: ...
    @property
    def spares(self) -> int: ...
    @property
    def recovery_threshold(self) -> int: ...
    @property
    def independent(self) -> int: ...
    @property
    def own_slots(self) -> Sequence[Sequence[int]]: ...
    def gain(self, slots: Sequence[int]) -> Iterable[float]: ...
    def first_slots(self, answers: Sequence[int]) -> Iterable[int]: ...


class Gains:
    """A code's gains by responder set. Make one a deployment and share it between its batches.

    It rests on one property of codes: a further responder never makes an answer undecodable.

    Args:
        code: asked k times now, then once for each responder set that is new.
    """

    def __init__(self, code: Decodable) -> None:
        self.k, self.n, self.exact = code.k, code.n, code.exact
        # Slots that are sent at once; the others replace late ones.
        self.sent = code.n - code.spares
        # Honest responders that answer for each other: no fewer, however few would decode.
        self.fewest = max(code.recovery_threshold, code.independent)
        self._code = code
        self._known: dict[int, tuple[float, ...]] = {}
        self._firsts: dict[int, int] = {}  # by wanted answers: as many as clients ask for
        everything = mask(range(self.n))
        # [k] masks: the slots whose result is this answer.
        self.own = tuple(mask(slots) for slots in code.own_slots)
        # [n] masks: the answers that this slot's result is.
        self.answers = tuple(
            mask(j for j, own in enumerate(self.own) if own >> slot & 1) for slot in range(self.n)
        )
        # Answers that no other slots give (uncoded, replication): their gain is not asked again.
        self.own_only = mask(
            j for j, own in enumerate(self.own) if not self.of(everything & ~own)[j] < inf
        )

    @property
    def redundancy(self) -> float:
        """Slots sent at once beyond those that give every answer, for each of these."""
        firsts = mask(next(bits(own)) for own in self.own if own)
        needed = firsts.bit_count() if all(self.own) else self.fewest
        return max(0, self.sent - needed) / needed

    def of(self, slots: int) -> tuple[float, ...]:
        """Gains [k] of a mask of slots; inf is not decodable."""
        if not slots:
            return (inf,) * self.k  # codes refuse the empty set
        known = self._known.get(slots)
        if known is None:
            if len(self._known) >= GAINS_KEPT:
                self._known.clear()
            known = tuple(float(gain) for gain in self._code.gain(tuple(bits(slots))))
            self._known[slots] = known
        return known

    def first(self, answers: int) -> int:
        """Of slots, those worth sending at once for a mask of answers; none of them spare."""
        known = self._firsts.get(answers)
        if known is None:
            slots = mask(self._code.first_slots(tuple(bits(answers))))
            known = self._firsts[answers] = slots & ((1 << self.sent) - 1)
        return known

    def has(self, answer: int, slots: int) -> bool:
        """Whether a mask of slots gives this answer, own or decoded."""
        if slots & self.own[answer]:
            return True
        return not self.own_only >> answer & 1 and self.of(slots)[answer] < inf


def bits(positions: int) -> Iterator[int]:
    """The positions of a mask's ones, ascending."""
    while positions:
        lowest = positions & -positions
        yield lowest.bit_length() - 1
        positions ^= lowest


def mask(positions: Iterable[int]) -> int:
    """The mask with ones at these positions."""
    ones = 0
    for position in positions:
        ones |= 1 << position
    return ones
