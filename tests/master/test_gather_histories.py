"""Every history of small groups: each order of replies and losses, at each moment, per policy.

`explore` walks all of them by forking the state machine; histories that lead to the same observed
state are walked once. `Observer` is an independent bookkeeping of what was commanded, and its
`check` holds the promises. The broken machines at the end show which promise catches what.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf
from typing import TypeVar

import pytest

from master.gather import Answer, Cancel, Command, Event, Fail, Gather, Lost, Replied, Send, Tick
from master.latency import Latency
from master.policy import Delay, Moments, Policy

T = TypeVar("T")

IMPATIENT_AT, DEADLINE = 3.0, 4.0


@dataclass(frozen=True)
class Toy:
    """A code that is its own closed form: own slots give 1, any `threshold` slots give `noise`.

    A threshold of 0 means that only own slots give an answer. `fades` makes the noise depend on
    how many respond, as an approximate code's does.
    """

    k: int
    n: int
    own_slots: tuple[tuple[int, ...], ...]
    threshold: int = 0
    exact: bool = True
    fades: bool = False
    spares: int = 0

    def gain(self, slots: Sequence[int]) -> list[float]:
        assert slots, "codes refuse the empty set"
        assert list(slots) == sorted(set(slots)), "slots are distinct and ascending"
        noise = 2.0 * (self.n / len(slots) if self.fades else 1.0)
        decoded = noise if 0 < self.threshold <= len(slots) else inf
        return [1.0 if set(own) & set(slots) else decoded for own in self.own_slots]

    def has(self, answer: int, slots: set[int]) -> bool:
        return bool(slots) and self.gain(sorted(slots))[answer] < inf


def systematic(k: int) -> tuple[tuple[int, ...], ...]:
    return tuple((j,) for j in range(k))


UNCODED = Toy(3, 3, systematic(3))
REPLICATION = Toy(2, 4, ((0, 2), (1, 3)))
PARITY = Toy(2, 3, systematic(2), threshold=2, exact=False)
WIDE_PARITY = Toy(3, 5, systematic(3), threshold=3, exact=False)
EXACT_PARITY = Toy(2, 4, systematic(2), threshold=2)
ANY_SUBSET = Toy(2, 4, ((), ()), threshold=1, exact=False, fades=True)
LAGRANGE = Toy(2, 5, ((), ()), threshold=3)
BACKUP = Toy(2, 3, systematic(2), threshold=1, exact=False, fades=True)
SPARE = Toy(2, 4, ((), ()), threshold=1, exact=False, fades=True, spares=2)
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
}


@dataclass
class Observer:
    """What an outsider knows of a batch; checks the promises on every command."""

    code: Toy
    policy: Policy
    wanted: frozenset[int]
    now: float = 0.0
    sends: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    came: set[int] = field(default_factory=set)
    resolved: dict[int, str] = field(default_factory=dict)

    @property
    def out(self) -> set[int]:
        return {slot for slot, count in enumerate(self.open) if count and slot not in self.came}

    @property
    def pending(self) -> set[int]:
        return set(self.wanted) - set(self.resolved)

    @property
    def key(self) -> tuple[object, ...]:
        resolved = tuple(sorted(self.resolved.items()))
        return self.now, tuple(self.sends), tuple(self.open), tuple(sorted(self.came)), resolved

    def has_all(self, slots: set[int]) -> bool:
        return all(self.code.has(answer, slots) for answer in self.pending)

    def hear(self, event: Event, now: float) -> None:
        self.now = now
        match event:
            case Replied(slot):
                self.came.add(slot)
                self.open[slot] = max(0, self.open[slot] - 1)
            case Lost(slot):
                self.open[slot] = max(0, self.open[slot] - 1)

    def obey(self, commands: list[Command], event: Event | None, was_done: bool) -> None:
        assert not (was_done and commands), "no command follows the end"
        for command in commands:
            match command:
                case Send(slot, attempt):
                    self._obey_send(slot, attempt, event)
                case Cancel(slots):
                    assert all(self.open[slot] for slot in slots), "only open sends are cancelled"
                    for slot in slots:
                        self.open[slot] = 0
                case Answer(answers, slots, direct):
                    self._obey_answer(answers, slots, direct)
                    self._resolve(answers, "answered")
                case Fail(answers, responders, reason):
                    spare = {s for s, c in enumerate(self.sends) if c < self.policy.max_sends}
                    for answer in answers:
                        possible = self.code.has(answer, self.came | self.out | spare)
                        assert self.now >= DEADLINE or not possible, "nothing possible fails"
                    assert set(responders) == self.came
                    assert f"{len(self.came)} of {self.code.n} slots" in reason
                    self._resolve(answers, "failed")

    def _resolve(self, answers: tuple[int, ...], how: str) -> None:
        for answer in answers:
            assert answer in self.pending, "each wanted answer is resolved once, no other ever"
            self.resolved[answer] = how

    def _obey_send(self, slot: int, attempt: int, event: Event | None) -> None:
        assert attempt == self.sends[slot] < self.policy.max_sends, "sends are bounded"
        assert slot not in self.came, "nothing is sent for a slot that replied"
        is_spare = slot >= self.code.n - self.code.spares
        assert not (is_spare and event is None), "spare slots stay behind at first"
        hedge_at = moments(self.policy).hedge_at
        if is_spare and not attempt and hedge_at is not None and self.now >= hedge_at:
            assert self.out or isinstance(event, Lost), "a spare slot takes a late one's place"
        elif isinstance(event, Lost) and slot not in self.out:
            left = self.came | self.out
            is_short = len(left) < (self.policy.recovery_threshold or 1)
            assert is_short or not self.has_all(left), "no resend that is not needed"
        elif attempt:
            assert slot in self.out, "a hedge is for a slot that is out"
        self.sends[slot] += 1
        self.open[slot] += 1

    def _obey_answer(self, answers: tuple[int, ...], slots: tuple[int, ...], direct: bool) -> None:
        assert set(slots) <= self.came, "answers come from responders"
        is_held = self.now < IMPATIENT_AT and bool(self.out)
        assert not (self.policy.wait == "all" and is_held), "'all' waits for all"
        if direct:
            for answer in answers:
                assert len(slots) == 1, "a direct answer is its own slot's result"
                assert slots[0] in self.code.own_slots[answer], "own slots are own"
            return
        gains = self.code.gain(sorted(slots))
        assert set(slots) == self.came, "a decoder gets all responders"
        for answer in answers:
            assert not set(self.code.own_slots[answer]) & self.came, "own answers are not decoded"
            assert gains[answer] < inf, "nothing impossible is answered"
            if is_held and self.now < self.soft_at:
                assert gains[answer] <= self.policy.gain_limit, "early answers are good answers"
                if self.policy.wait == "soft":
                    assert self.code.exact, "an estimate waits for the soft moment"
                    assert not set(self.code.own_slots[answer]) & self.out, "own slots have time"
        assert not is_held or len(slots) >= (self.policy.recovery_threshold or 1), "threshold"

    @property
    def soft_at(self) -> float:
        return moments(self.policy).soft_at or 0.0

    def check(self, gather: Gather) -> None:
        """What holds after every event."""
        assert gather.is_done == (not self.pending), "done is: every wanted answer is resolved"
        assert set(gather.responders) <= self.came
        assert gather.sends == sum(self.sends)
        due = gather.next_due()
        if not self.pending:
            assert not any(self.open), "the end cancels what is out"
            assert due is None
            return
        assert self.now < DEADLINE, "nothing outlives the deadline"
        assert due is not None, "no state without a next moment"
        assert self.now < due <= DEADLINE, "the next moment is ahead"
        for answer in self.pending:
            assert self.code.has(answer, self.came | self.out), "it waits for what can come"
            had = self.code.has(answer, self.came)
            is_late = self.now >= IMPATIENT_AT or not self.out
            assert not (had and is_late), "late, everything decodable is answered"
            if self.policy.wait != "all":
                own = set(self.code.own_slots[answer])
                assert not own & self.came, "own answers are taken as they come"
                enough = len(self.came) >= (self.policy.recovery_threshold or 1)
                assert not (had and enough and self.now >= self.soft_at), "patience ends"
        for moment in (1.0, 2.0, IMPATIENT_AT):
            if self.now < moment < due:
                assert not fork(gather).on(Tick(), moment), "no moment is slept through"


@cache
def moments(policy: Policy) -> Moments:
    return policy.moments(Latency(), 0.0)


def fork(thing: T) -> T:
    """A twin that shares nothing that changes."""
    twin = copy.copy(thing)
    for name, value in vars(thing).items():
        if isinstance(value, list | set | dict):
            setattr(twin, name, value.copy())
    return twin


def begin(
    code: Toy, policy: Policy, wanted: frozenset[int] | None = None, machine: type[Gather] = Gather
) -> Gather:
    chosen = frozenset(range(code.k)) if wanted is None else wanted
    return machine(code, policy, chosen, 0.0, moments(policy), IMPATIENT_AT, DEADLINE)


def possible(seen: Observer, with_stragglers: bool) -> Iterator[Event]:
    """What can happen next: a reply or a loss of each open send; or a reply nobody expects."""
    for slot, count in enumerate(seen.open):
        if count and slot not in seen.came:
            yield Replied(slot)
            yield Lost(slot)
        elif with_stragglers and seen.sends[slot] and slot not in seen.came:
            yield Replied(slot)  # its loss was told, or it was cancelled, and it comes after all


def explore(gather: Gather, seen: Observer, with_stragglers: bool = False) -> int:
    """Walk every history; how many distinct states there were."""
    seen.sends, seen.open = [0] * seen.code.n, [0] * seen.code.n
    seen.obey(gather.start(0.0), None, was_done=False)
    seen.check(gather)
    states = [(gather, seen)]
    known = {seen.key}
    while states:
        gather, seen = states.pop()
        later = [t for t in (1.0, 2.0, IMPATIENT_AT, DEADLINE) if t > seen.now]
        if gather.is_done:
            after: list[Event] = [Tick(), Lost(0), *map(Replied, range(seen.code.n))]
            for event in after:
                assert not fork(gather).on(event, DEADLINE + 1), "no command follows the end"
            continue
        old: list[Event] = [Tick(), *map(Replied, seen.came), *map(Lost, seen.came)]
        for stale in old:
            assert not fork(gather).on(stale, seen.now), "old news changes nothing"
        steps: list[tuple[Event, float]] = [(Tick(), later[0])]
        for event in possible(seen, with_stragglers):  # now, or told only with the next moment
            steps += [(event, seen.now), (event, later[0])]
        for event, now in steps:
            twin, sees = fork(gather), fork(seen)
            was_done = twin.is_done
            commands = twin.on(event, now)
            sees.hear(event, now)
            sees.obey(commands, event, was_done)
            sees.check(twin)
            if sees.key not in known:
                known.add(sees.key)
                states.append((twin, sees))
    return len(known)


def observe(code: Toy, policy: Policy, wanted: frozenset[int] | None = None) -> Observer:
    return Observer(code, policy, frozenset(range(code.k)) if wanted is None else wanted)


def cases() -> Iterator[object]:
    for code in (UNCODED, REPLICATION, PARITY, EXACT_PARITY, ANY_SUBSET, BACKUP, SPARE):
        for name, policy in POLICIES.items():
            if policy.gain_limit == inf or code.fades:  # else the limit is never in the way
                chosen = (
                    policy if code.n < 4 else replace(policy, max_sends=min(2, policy.max_sends))
                )
                yield pytest.param(code, chosen, id=f"{NAMES[code]}-{name}")
    for code in (WIDE_PARITY, LAGRANGE):  # five slots, one send each
        for name in ("soft-once", "all-once"):
            yield pytest.param(code, POLICIES[name], id=f"{NAMES[code]}-{name}")


@pytest.mark.parametrize(("code", "policy"), list(cases()))
def test_every_history_keeps_the_promises(code: Toy, policy: Policy) -> None:
    assert explore(begin(code, policy), observe(code, policy)) > 20


@pytest.mark.parametrize("code", [REPLICATION, PARITY, ANY_SUBSET], ids=NAMES.get)
def test_every_history_of_a_wanted_subset_and_of_unexpected_replies(code: Toy) -> None:
    wanted = frozenset({1})
    seen = observe(code, SOFT, wanted)
    assert explore(begin(code, SOFT, wanted), seen, with_stragglers=True) > 20


# Planted faults: which promise catches which mutation.


class KeepsOut(Gather):
    def _cancel(self, slots: int) -> None:
        pass


class SendsForEver(Gather):
    def _replace_lost(self) -> None:
        short = [j for j in range(3) if not self._gains.has(j, self._came | self._out)]
        self._send(short)


class NeverReplaces(Gather):
    def _replace_lost(self) -> None:
        pass


class ReplacesFreely(Gather):
    def _replace_lost(self) -> None:
        self._send(self._sendable(~(self._came | self._out)))


class AnswersTwice(Gather):
    def _give_own(self) -> None:
        super()._give_own()
        self._commands += [c for c in self._commands if isinstance(c, Answer)]


class StaysPatient(Gather):
    def _give_decoded(self, is_impatient: bool) -> None:
        super()._give_decoded(is_impatient=False)


class NeverPatient(Gather):
    def _give_decoded(self, is_impatient: bool) -> None:
        super()._give_decoded(is_impatient=True)


class DecodesAnything(Gather):
    def _give_decoded(self, is_impatient: bool) -> None:
        if self._came and self._pending:
            answers = tuple(j for j in range(3) if self._pending >> j & 1)
            self._commands.append(Answer(answers, self.responders, direct=False))
            self._pending = 0


class NeverFails(Gather):
    def _fail(self, answers: object, why: str) -> None:
        pass


class FailsEarly(Gather):
    def _replace_lost(self) -> None:
        self._fail([j for j in range(3) if self._pending >> j & 1], "one is lost")


class Oversleeps(Gather):
    def next_due(self) -> float | None:
        return None if self.is_done else DEADLINE


class WakesAtOnce(Gather):
    def next_due(self) -> float | None:
        due = super().next_due()
        return None if due is None else min(due, self._now)


class HedgesForEver(Gather):
    def _sendable(self, slots: int) -> list[int]:
        return [slot for slot in range(3) if slots >> slot & 1]


class CancelsResults(Gather):
    def _replied(self, slot: int) -> None:
        super()._replied(slot)
        if self._pending:
            self._commands.append(Cancel((slot,)))


@pytest.mark.parametrize(
    ("machine", "code", "policy", "promise"),
    [
        (KeepsOut, PARITY, "soft", "the end cancels what is out"),
        (SendsForEver, UNCODED, "soft", "sends are bounded"),
        (HedgesForEver, UNCODED, "soft-early-hedge", "sends are bounded"),
        (NeverReplaces, UNCODED, "soft", "it waits for what can come"),
        (ReplacesFreely, PARITY, "soft", "no resend that is not needed"),
        (AnswersTwice, UNCODED, "soft", "each wanted answer is resolved once"),
        (StaysPatient, PARITY, "soft-threshold", "late, everything decodable is answered"),
        (NeverPatient, PARITY, "soft", "an estimate waits"),
        (NeverPatient, EXACT_PARITY, "soft", "own slots have time"),
        (NeverPatient, ANY_SUBSET, "first-limited", "early answers are good answers"),
        (NeverPatient, EXACT_PARITY, "soft-threshold", "own slots have time|threshold"),
        (DecodesAnything, PARITY, "first", "nothing impossible is answered|own answers"),
        (NeverFails, PARITY, "soft", "nothing outlives the deadline|what can come"),
        (FailsEarly, PARITY, "soft", "nothing possible fails"),
        (Oversleeps, PARITY, "soft", "no moment is slept through"),
        (WakesAtOnce, PARITY, "soft", "the next moment is ahead"),
        (CancelsResults, PARITY, "soft", "only open sends are cancelled|old news"),
    ],
)
def test_every_promise_catches_its_fault(
    machine: type[Gather], code: Toy, policy: str, promise: str
) -> None:
    seen = observe(code, POLICIES[policy])
    with pytest.raises(AssertionError, match=promise):
        explore(begin(code, POLICIES[policy], machine=machine), seen)
