"""Every history of a small coded batch: each order of replies, losses, lies, at each moment.

`explore` walks all of them by forking the state machine; histories that lead to the same observed
state are walked once. `Observer` is an independent bookkeeping of what was commanded, and its
`check` holds the promises.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import inf
from typing import TypeVar

from master.events import (
    Answer,
    Cancel,
    Command,
    Doubt,
    Doubted,
    Event,
    Fail,
    Judge,
    Judged,
    Lost,
    Recall,
    Replied,
    Send,
    Tick,
)
from master.gather import Gather
from master.policy import Policy
from master.screening import MOST_RECHECKS, Screen
from support.toys import DEADLINE, IMPATIENT_AT, Toy, moments

T = TypeVar("T")


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
    found: int = 0  # results that were located
    believed: set[int] = field(default_factory=set)  # judged together, and no more among them lie
    doubted: set[int] = field(default_factory=set)  # judged together, and nobody knows who lies
    asked: Judge | Doubt | None = None  # it waits for a verdict
    aside: int | None = None  # a slot whose result is set aside
    aside_until: float = inf
    rechecked: set[int] = field(default_factory=set)  # slots that were set aside, ever
    sure: set[int] = field(default_factory=set)  # that two workers replied for
    undoubted: set[int] = field(default_factory=set)  # responders of whom none is in doubt

    @property
    def out(self) -> set[int]:
        return {slot for slot, count in enumerate(self.open) if count and slot not in self.came}

    @property
    def pending(self) -> set[int]:
        return set(self.wanted) - set(self.resolved)

    @property
    def key(self) -> tuple[object, ...]:
        resolved = tuple(sorted(self.resolved.items()))
        sets = (
            self.came, self.believed, self.doubted, self.rechecked, self.sure, self.undoubted,
        )  # fmt: skip
        return (
            self.now, tuple(self.sends), tuple(self.open), *(tuple(sorted(s)) for s in sets),
            resolved, self.found, self.asked, self.aside, self.aside_until,
        )  # fmt: skip

    @property
    def needed(self) -> int:
        """Responders that outvote the liars that are still among them."""
        if not self.policy.liars:
            return 1
        left = max(0, self.policy.liars - self.found)
        return max(self.code.recovery_threshold, self.code.k) + 2 * left

    def has(self, answer: int, slots: set[int]) -> bool:
        """Whether an answer can be had from slots, once they are judged."""
        outvotes = not self.code.exact or len(slots) >= self.needed
        is_hopeless = bool(self.policy.liars) and slots <= self.doubted
        return outvotes and not is_hopeless and self.code.has(answer, slots)

    def has_all(self, slots: set[int]) -> bool:
        wished = self.needed if self.policy.liars else 1
        more = len(self.doubted) + 1 if self.doubted else 0
        enough = len(slots) >= max(wished, more)
        return enough and all(self.has(answer, slots) for answer in self.pending)

    def trusts(self) -> bool:
        """Whether the responders have been judged, as far as they will be."""
        is_found = not self.code.exact and self.found >= self.policy.liars
        return is_found or self.came == self.believed

    @property
    def doubtful(self) -> set[int]:
        """Responders that may be doubted now."""
        if not self.policy.recheck or self.code.exact or self.now >= IMPATIENT_AT:
            return set()
        if len(self.rechecked) == MOST_RECHECKS or self.came == self.undoubted:
            return set()
        spent = {s for s, count in enumerate(self.sends) if count == self.policy.max_sends}
        return self.came - self.rechecked - spent

    def hear(self, event: Event, now: float) -> None:
        self.now = now
        self.asked = None
        match event:
            case Judged(slots, None):
                self.doubted = set(slots)
            case Judged(slots, lied):
                assert lied is not None
                self.found += len(lied)
                self.came -= set(lied)
                self.believed, self.doubted = set(slots) - set(lied), set()
            case Doubted(slots, None):
                self.undoubted = set(slots)
            case Doubted(_, int(slot)):
                self.aside, self.aside_until = slot, min(now + 1.0, IMPATIENT_AT)
                self.came.remove(slot)
                self.rechecked.add(slot)
            case Replied(slot, replaces_lie):
                if slot == self.aside:
                    self.aside = None
                    self.found += replaces_lie
                    self.sure.add(slot)
                self.came.add(slot)
                self.open[slot] = max(0, self.open[slot] - 1)
            case Lost(slot):
                self.open[slot] = max(0, self.open[slot] - 1)

    def obey(self, commands: list[Command], event: Event | None, was_done: bool) -> None:
        assert not (was_done and commands), "no command follows the end"
        for command in commands:
            assert self.asked is None, "a verdict comes before anything else"
            match command:
                case Judge(slots, most, sure):
                    self._obey_judge(slots, most, sure)
                    self.asked = command
                case Doubt(slots, settled):
                    self._obey_question(slots)
                    assert self.doubtful, "somebody can be doubted"
                    assert self.came - set(settled) == self.doubtful, "nobody is doubted twice"
                    self.asked = command
                case Recall(slot):
                    assert slot == self.aside, "what was set aside is taken back"
                    is_late = self.now >= self.aside_until
                    assert is_late or event == Lost(slot), "a second result has time"
                    self.aside = None
                    self.came.add(slot)
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
                        aside = set() if self.aside is None else {self.aside}
                        possible = self.has(answer, self.came | self.out | spare | aside)
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
        is_in_reserve = slot not in self.code.first_slots(sorted(self.wanted)) and not is_spare
        if is_in_reserve and not attempt and self.policy.wait == "soft":
            is_lost = isinstance(event, Lost)
            assert is_lost or self.now >= self.soft_at, "others are asked when patience ends"
            assert (
                not is_lost or self.now >= self.soft_at or not self.has_all(self.came | self.out)
            ), "others are asked for what is lost"
        elif is_spare and not attempt and hedge_at is not None and self.now >= hedge_at:
            assert self.out or isinstance(event, Lost | Judged), (
                "a spare slot takes a late one's place"
            )
        elif isinstance(event, Lost | Judged) and slot not in self.out:
            left = self.came | self.out
            is_short = len(left) < (self.policy.recovery_threshold or 1)
            assert is_short or not self.has_all(left), "no resend that is not needed"
        elif attempt and not (slot == self.aside and isinstance(event, Doubted)):
            assert slot in self.out, "a hedge is for a slot that is out"
        self.sends[slot] += 1
        self.open[slot] += 1

    def _obey_judge(self, slots: tuple[int, ...], most: int, sure: tuple[int, ...]) -> None:
        self._obey_question(slots)
        assert not self.doubtful, "nobody is accused who can be asked again"
        assert set(sure) == self.sure & self.came, "whoever is confirmed is not accused"
        assert most >= 1, "there is something to find"
        if self.code.exact:
            assert len(slots) >= self.code.recovery_threshold + 2 * most, "who lies can be proved"
        else:
            assert most == self.policy.liars - self.found, "an estimate accuses no more than asked"

    def _obey_question(self, slots: tuple[int, ...]) -> None:
        assert self.policy.liars, "nobody is judged without need"
        assert self.aside is None, "one is set aside at a time"
        assert set(slots) == self.came, "all responders are judged together"
        assert self.came != self.doubted, "the same set is not judged twice"
        assert not self.trusts(), "the same set is not judged twice"
        is_held = self.now < IMPATIENT_AT and bool(self.out)
        assert not is_held or len(slots) >= self.needed, "liars are outvoted"

    def _obey_answer(self, answers: tuple[int, ...], slots: tuple[int, ...], direct: bool) -> None:
        assert set(slots) <= self.came, "answers come from responders"
        assert self.aside is None, "nothing is answered while a result is set aside"
        is_held = self.now < IMPATIENT_AT and bool(self.out)
        assert not (self.policy.wait == "all" and is_held), "'all' waits for all"
        if self.policy.liars:
            assert self.trusts(), "nobody is believed unjudged"
            is_short = is_held or self.code.exact
            assert not is_short or len(self.came) >= self.needed, "liars are outvoted"
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
        if self.asked is not None:
            assert self.pending, "somebody waits for the verdict"
            return
        due = gather.next_due()
        if not self.pending:
            assert not any(self.open), "the end cancels what is out"
            assert due is None
            return
        assert self.now < DEADLINE, "nothing outlives the deadline"
        assert due is not None, "no state without a next moment"
        assert self.now < due <= DEADLINE, "the next moment is ahead"
        for answer in self.pending:
            assert self.has(answer, self.came | self.out), "it waits for what can come"
            if self.aside is not None:
                assert self.aside in self.out, "another worker was asked"
                assert due <= self.aside_until, "no second result is waited for too long"
                continue
            had = self.has(answer, self.came)
            is_late = self.now >= IMPATIENT_AT or not self.out
            assert not (had and is_late), "late, everything decodable is answered"
            if self.policy.wait != "all":
                own = set(self.code.own_slots[answer])
                is_taken = not own & self.came or bool(self.policy.liars)
                assert is_taken, "own answers are taken as they come"
                wished = max(self.policy.recovery_threshold or 1, self.needed)
                enough = len(self.came) >= max(wished, len(self.doubted) + 1)
                assert not (had and enough and self.now >= self.soft_at), "patience ends"
        if self.code.asks_own and self.policy.wait == "soft":
            is_patient = self.now < self.soft_at
            assert is_patient or all(self.sends), "when patience ends all are asked"
        for moment in (1.0, 2.0, IMPATIENT_AT):
            if self.now < moment < due:
                assert not fork(gather).on(Tick(), moment), "no moment is slept through"


def fork(thing: T) -> T:
    """A twin that shares nothing that changes."""
    twin = copy.copy(thing)
    for name, value in vars(thing).items():
        if isinstance(value, list | set | dict | Screen):
            setattr(twin, name, copy.copy(value))
    if isinstance(thing, Gather) and isinstance(twin, Gather):
        twin._at = fork(thing._at)
        twin._choice = copy.copy(thing._choice)
        twin._choice._at, twin._choice._screen = twin._at, twin._screen
        if thing._extras is not None:
            twin._extras = replace(thing._extras, purse=copy.copy(thing._extras.purse))
    return twin


def possible(seen: Observer, with_stragglers: bool) -> Iterator[Event]:
    """What can happen next: a reply or a loss of each open send; or a reply nobody expects."""
    if isinstance(seen.asked, Doubt):
        slots, settled = seen.asked.slots, seen.asked.settled
        yield Doubted(slots, None)
        for slot in set(slots) - set(settled):
            yield Doubted(slots, slot)
        return
    if seen.asked is not None:
        slots, most = seen.asked.slots, seen.asked.most
        yield Judged(slots, None)
        for count in range(most + 1):
            for lied in combinations(slots, count):
                yield Judged(slots, lied)
        return
    for slot, count in enumerate(seen.open):
        if count and slot not in seen.came:
            yield Replied(slot)
            if slot == seen.aside:
                yield Replied(slot, replaces_lie=True)
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
        if seen.asked is None:
            _check_stale(gather, seen)
            steps: list[tuple[Event, float]] = [(Tick(), later[0])]
        else:
            steps = []
        for event in possible(seen, with_stragglers):  # now, or told only with the next moment
            steps.append((event, seen.now))
            if seen.asked is None:
                steps.append((event, later[0]))
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


def _check_stale(gather: Gather, seen: Observer) -> None:
    old: list[Event] = [Tick(), *map(Replied, seen.came), *map(Lost, seen.came)]
    for stale in old:
        assert not fork(gather).on(stale, seen.now), "old news changes nothing"


def observe(code: Toy, policy: Policy, wanted: frozenset[int] | None = None) -> Observer:
    return Observer(code, policy, frozenset(range(code.k)) if wanted is None else wanted)
