"""Small codes that are their own closed forms, policies with fixed moments, and a batch of both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf

from master.gather import Gather
from master.latency import Latency
from master.policy import Delay, Moments, Policy

IMPATIENT_AT, DEADLINE = 3.0, 4.0


@dataclass(frozen=True)
class Toy:
    """A code that is its own closed form: own slots give 1, any `threshold` slots give `noise`.

    A threshold of 0 means that only own slots give an answer. `fades` makes the noise depend on
    how many respond, as an approximate code's does.
    """

    n: int
    own_slots: tuple[tuple[int, ...], ...]
    threshold: int = 0
    exact: bool = True
    fades: bool = False
    spares: int = 0
    asks_own: bool = False  # at first, where some answers are not wanted

    @property
    def k(self) -> int:
        return len(self.own_slots)

    @property
    def independent(self) -> int:
        return self.k

    def first_slots(self, answers: Sequence[int]) -> Sequence[int]:
        if not self.asks_own or len(answers) == self.k:
            return range(self.n - self.spares)
        return [slot for answer in answers for slot in self.own_slots[answer]]

    def gain(self, slots: Sequence[int]) -> list[float]:
        assert slots, "codes refuse the empty set"
        assert list(slots) == sorted(set(slots)), "slots are distinct and ascending"
        noise = 2.0 * (self.n / len(slots) if self.fades else 1.0)
        decoded = noise if 0 < self.threshold <= len(slots) else inf
        return [1.0 if set(own) & set(slots) else decoded for own in self.own_slots]

    @property
    def recovery_threshold(self) -> int:
        return self.threshold or self.n

    def has(self, answer: int, slots: set[int]) -> bool:
        return bool(slots) and self.gain(sorted(slots))[answer] < inf


def systematic(k: int) -> tuple[tuple[int, ...], ...]:
    return tuple((j,) for j in range(k))


UNCODED = Toy(3, systematic(3))
REPLICATION = Toy(4, ((0, 2), (1, 3)))
PARITY = Toy(3, systematic(2), threshold=2, exact=False)
WIDE_PARITY = Toy(5, systematic(3), threshold=3, exact=False)
EXACT_PARITY = Toy(4, systematic(2), threshold=2)
ANY_SUBSET = Toy(4, ((), ()), threshold=1, exact=False, fades=True)
LAGRANGE = Toy(5, ((), ()), threshold=3)
BACKUP = Toy(3, systematic(2), threshold=1, exact=False, fades=True)
SPARE = Toy(4, ((), ()), threshold=1, exact=False, fades=True, spares=2)
VOTE = Toy(4, ((),), threshold=1)
ESTIMATE = Toy(3, ((),), threshold=1, exact=False)
MODELS = Toy(3, systematic(2), threshold=2, exact=False, asks_own=True)
MORE_MODELS = replace(MODELS, n=4)
NAMES = {
    UNCODED: "uncoded",
    REPLICATION: "replication",
    PARITY: "parity",
    WIDE_PARITY: "wide-parity",
    EXACT_PARITY: "exact-parity",
    ANY_SUBSET: "any-subset",
    LAGRANGE: "lagrange",
    BACKUP: "backup",
    SPARE: "spare",
    VOTE: "vote",
    ESTIMATE: "estimate",
    MODELS: "models",
    MORE_MODELS: "more-models",
}

SOFT = Policy("soft", Delay(fixed_s=1.0), hedge=Delay(fixed_s=2.0), max_sends=2)
EARLY_HEDGE = Policy("soft", Delay(fixed_s=2.0), hedge=Delay(fixed_s=1.0), max_sends=3)
POLICIES = {
    "first": replace(SOFT, wait="first"),
    "first-limited": replace(SOFT, wait="first", gain_limit=3.0),
    "soft": SOFT,
    "soft-early-hedge": EARLY_HEDGE,
    "soft-once": Policy("soft", Delay(fixed_s=1.0), max_sends=1),
    "soft-threshold": replace(SOFT, recovery_threshold=3),
    "all": replace(SOFT, wait="all"),
    "all-once": Policy("all", max_sends=1),
    "liar-first": replace(SOFT, wait="first", liars=1, recheck=0.0),
    "liar-soft": replace(SOFT, liars=1, recheck=0.0),
    "liar-limited": replace(SOFT, wait="first", gain_limit=3.0, liars=1, recheck=0.0),
    "liar-once": Policy("soft", Delay(fixed_s=1.0), max_sends=1, liars=1),
    "liar-all": Policy("all", max_sends=1, liars=1),
    "two-liars": Policy("first", max_sends=1, liars=2),
    "recheck-first": replace(SOFT, wait="first", liars=1),
    "recheck-soft": Policy("soft", Delay(fixed_s=1.0), max_sends=2, liars=1),
    "recheck-all": Policy("all", Delay(fixed_s=1.0), max_sends=2, liars=1),
    "recheck-thrice": Policy("first", Delay(fixed_s=1.0), max_sends=3, liars=1),
    "recheck-two-liars": Policy("first", Delay(fixed_s=1.0), max_sends=2, liars=2),
}


@cache
def moments(policy: Policy) -> Moments:
    return policy.moments(Latency(), 0.0)


def begin(
    code: Toy, policy: Policy, wanted: frozenset[int] | None = None, machine: type[Gather] = Gather
) -> Gather:
    chosen = frozenset(range(code.k)) if wanted is None else wanted
    return machine(code, policy, chosen, 0.0, moments(policy), IMPATIENT_AT, DEADLINE)
