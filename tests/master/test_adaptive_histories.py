"""Every history of small groups under adaptive redundancy: each order of replies and losses, at
each moment, with purses that pay for all, for some and for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

import pytest

import codes
from master.choice import Choice
from master.events import Command, Event, Lost, Replied, Send, Tick
from master.extras import MOST_SAVED, Extras, Purse
from master.gains import Decodable
from master.gather import Gather
from master.policy import Delay, Moments, Policy
from support.histories import Observer, explore
from support.toys import (
    BACKUP,
    DEADLINE,
    EXACT_PARITY,
    IMPATIENT_AT,
    LAGRANGE,
    PARITY,
    REPLICATION,
    UNCODED,
    Toy,
)

LATE_S = 1.0  # a late task's moments are those at which the histories look
SMALL = Toy(4, ((), ()), threshold=3)
NAMES = {
    UNCODED: "uncoded",
    REPLICATION: "replication",
    PARITY: "parity",
    EXACT_PARITY: "exact-parity",
    BACKUP: "backup",
    SMALL: "lagrange",
}
# What an outsider holds it to: patience until a task is late, as under "soft".
PATIENT = Policy("soft", Delay(fixed_s=LATE_S), max_sends=2)


def full(tasks: float) -> Purse:
    """A purse with so many tasks, all of which are worth their price."""
    purse = Purse(0.08)
    purse._saved = tasks
    return purse


def begin(
    code: Decodable, purse: Purse, *, at_once: bool = False, machine: type[Gather] = Gather,
    max_sends: int = 2, wanted: frozenset[int] | None = None,
) -> Gather:  # fmt: skip
    extras = Extras(inf if at_once else 0.0, LATE_S, LATE_S, new=0.95, late=(0.05,), purse=purse)
    policy = Policy("adaptive", max_sends=max_sends)
    chosen = frozenset(range(code.k)) if wanted is None else wanted
    return machine(
        code, policy, chosen, 0.0, Moments(LATE_S, LATE_S, extras), IMPATIENT_AT, DEADLINE
    )


@dataclass
class Frugal(Observer):
    """An outsider who counts what is spent."""

    at_once: bool = False
    saved: float = 0.0
    sent_at: list[float] = field(default_factory=list)
    is_wave: bool = False  # time has passed, and nothing else has happened

    @property
    def key(self) -> tuple[object, ...]:
        return (*super().key, tuple(self.sent_at))

    def hear(self, event: Event, now: float) -> None:
        super().hear(event, now)
        self.is_wave = isinstance(event, Tick)

    def obey(self, commands: list[Command], event: Event | None, was_done: bool) -> None:
        if event is None:
            self.sent_at = [0.0] * self.code.n
            at_first = {c.slot for c in commands if isinstance(c, Send)}
            self.saved += 0.08 * len(at_first)
            assert self.has_all(at_first), "what is sent at first gives the answers"
            for slot in () if self.at_once else at_first:
                assert not self.has_own(at_first - {slot}), "and no more is sent than that"
        late = {s for s in self.out if self.now - self.sent_at[s] >= LATE_S / 2}
        extras = [c.slot for c in commands if isinstance(c, Send) and event is not None]
        if extras and not isinstance(event, Lost):
            assert self.now >= LATE_S, "nothing is sent before a task is late"
            assert late or self.saved < 0, "nothing is sent unless one is late"
            assert len(extras) <= self.saved, "the purse pays"
        super().obey(commands, event, was_done)
        self.saved -= len(extras)
        for slot in extras:
            self.sent_at[slot] = self.now
        for slot, count in enumerate(self.sends):
            if event is None and count:
                self.sent_at[slot] = self.now

    def has_own(self, slots: set[int]) -> bool:
        """Whether slots give each answer, by its own slot where it has one."""
        own = self.code.own_slots
        return all(set(own[j]) & slots if own[j] else self.has(j, slots) for j in self.pending)

    def _obey_send(self, slot: int, attempt: int, event: Event | None) -> None:
        assert attempt == self.sends[slot] < self.policy.max_sends, "sends are bounded"
        assert slot not in self.came, "nothing is sent for a slot that replied"
        self.sends[slot] += 1
        self.open[slot] += 1

    def check(self, gather: Gather) -> None:
        super().check(gather)
        if not self.is_wave or not self.pending or self.saved < 1:
            return
        fresh = {s for s in self.out if self.now - self.sent_at[s] < LATE_S / 2}
        left = {s for s, count in enumerate(self.sends) if count < self.policy.max_sends}
        for answer in self.pending:
            if self.has(answer, self.came | fresh | left):
                assert self.has(answer, self.came | fresh), "no late slot is waited for alone"


def observe(code: Toy, purse: Purse, *, at_once: bool = False, max_sends: int = 2) -> Frugal:
    policy = replace(PATIENT, max_sends=max_sends)
    saved = purse._saved
    return Frugal(code, policy, frozenset(range(code.k)), at_once=at_once, saved=saved)


@pytest.mark.parametrize("tasks", [2.0, MOST_SAVED])
@pytest.mark.parametrize("at_once", [False, True], ids=["lazily", "at-once"])
@pytest.mark.parametrize("code", list(NAMES), ids=NAMES.get)
def test_every_history_keeps_to_the_purse(code: Toy, at_once: bool, tasks: float) -> None:
    sends = 1 if code.n > 3 else 2
    gather = begin(code, full(tasks), at_once=at_once, max_sends=sends)
    assert explore(gather, observe(code, full(tasks), at_once=at_once, max_sends=sends)) > 20


def late(code: Decodable, came: Sequence[int], tasks: float = MOST_SAVED / 2) -> list[int]:
    """What is sent at the first late moment, where these slots of the first have replied."""
    gather = begin(code, full(tasks))
    gather.start(0.0)
    for slot in came:
        gather.on(Replied(slot), 0.5)
    return [c.slot for c in gather.on(Tick(), LATE_S) if isinstance(c, Send)]


def test_one_late_slot_is_sent_again_and_for_several_a_student_is_asked() -> None:
    backup = codes.make("backup", k=2, n=3)
    assert begin(backup, full(0.0)).start(0.0) == [Send(0, 0), Send(1, 0)]
    assert late(backup, [0]) == [1]
    assert late(backup, []) == [2]


def test_a_parity_serves_one_late_slot_and_each_of_several_is_sent_again() -> None:
    parity = codes.make("parity", k=2, n=3)
    assert late(parity, [1]) == [0]
    assert late(parity, [], tasks=1.0) == [0]
    assert late(parity, []) == [0, 1]


def test_a_purse_that_is_full_pays_for_second_copies() -> None:
    parity = codes.make("parity", k=2, n=3)
    assert late(parity, [1], tasks=MOST_SAVED) == [0, 2]


def test_a_code_without_own_slots_sends_what_is_short_at_once_or_nothing() -> None:
    assert late(LAGRANGE, [0], tasks=2.0) == [3, 4]
    assert late(LAGRANGE, [0], tasks=1.5) == []


class SpendsFreely(Gather):
    def _hedge(self) -> None:
        assert self._extras is not None
        self._extras.purse._saved = MOST_SAVED
        super()._hedge()


class SendsAllAtOnce(Gather):
    def start(self, now: float) -> list[Command]:
        assert self._extras is not None
        self._extras = replace(self._extras, at_once=inf)
        return super().start(now)


class NeverHedges(Gather):
    def _hedge(self) -> None:
        self._hedge_at = DEADLINE


class HedgesEarly(Gather):
    def on(self, event: Event, now: float) -> list[Command]:
        self._at.sent_at = [-LATE_S] * self._gains.n
        self._hedge_at = min(self._hedge_at, now)
        return super().on(event, now)


class HedgesForEver(Gather):
    def start(self, now: float) -> list[Command]:
        self._policy = replace(self._policy, max_sends=9)
        self._choice = Choice(self._gains, self._policy, None, self._at)
        return super().start(now)


@pytest.mark.parametrize(
    ("machine", "code", "promise"),
    [
        (SpendsFreely, UNCODED, "the purse pays"),
        (SendsAllAtOnce, PARITY, "no more is sent than that"),
        (NeverHedges, PARITY, "no late slot is waited for alone"),
        (HedgesEarly, PARITY, "nothing is sent before a task is late|old news"),
        (HedgesForEver, PARITY, "sends are bounded"),
    ],
)
def test_every_promise_catches_its_fault(machine: type[Gather], code: Toy, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        explore(begin(code, full(2.0), machine=machine), observe(code, full(2.0)))


@pytest.mark.parametrize(("wanted", "leave"), [((0, 1, 2, 3), 5), ((0,), 1)])
def test_what_a_budget_pays_for_whole_groups_it_does_not_pay_for_parts(
    wanted: tuple[int, ...], leave: int
) -> None:
    """A student beside four queries is a quarter more; beside one it is as much again."""
    code = codes.make("backup", k=4, n=5)
    extras = Extras(0.25, LATE_S, LATE_S, new=0.95, late=(0.05,), purse=full(0.0))
    moments = Moments(LATE_S, LATE_S, extras)
    policy = Policy("adaptive", max_sends=2)
    gather = Gather(code, policy, frozenset(wanted), 0.0, moments, IMPATIENT_AT, DEADLINE)
    assert sum(isinstance(command, Send) for command in gather.start(0.0)) == leave
