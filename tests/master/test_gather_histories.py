"""Every history of small groups under each policy, and the faults that each promise catches."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from math import inf

import pytest

from master.choice import Choice
from master.events import Answer, Cancel, Command, Doubt, Event, Judge, Judged
from master.gather import Gather
from master.policy import Policy
from master.screening import Screen
from support.histories import explore, observe
from support.toys import (
    ANY_SUBSET,
    BACKUP,
    DEADLINE,
    ESTIMATE,
    EXACT_PARITY,
    LAGRANGE,
    MODELS,
    MORE_MODELS,
    NAMES,
    PARITY,
    POLICIES,
    REPLICATION,
    SOFT,
    SPARE,
    UNCODED,
    VOTE,
    WIDE_PARITY,
    Toy,
    begin,
)


def cases() -> Iterator[object]:
    for code in (UNCODED, REPLICATION, PARITY, EXACT_PARITY, ANY_SUBSET, BACKUP, SPARE):
        for name, policy in POLICIES.items():
            if policy.liars:
                continue
            if policy.gain_limit == inf or code.fades:  # else the limit is never in the way
                chosen = (
                    policy if code.n < 4 else replace(policy, max_sends=min(2, policy.max_sends))
                )
                yield pytest.param(code, chosen, id=f"{NAMES[code]}-{name}")
    for code in (WIDE_PARITY, LAGRANGE):  # five slots, one send each
        for name in ("soft-once", "all-once"):
            yield pytest.param(code, POLICIES[name], id=f"{NAMES[code]}-{name}")
    for code, names in (
        (VOTE, ("liar-first", "liar-soft", "liar-once", "liar-all")),
        (Toy(3, ((),), threshold=1), ("liar-first", "liar-soft", "liar-all")),
        (EXACT_PARITY, ("liar-first", "liar-soft", "liar-once", "liar-all")),
        (LAGRANGE, ("liar-once",)),
        (Toy(5, ((),), threshold=1), ("two-liars",)),
        (ANY_SUBSET, ("liar-first", "liar-limited", "liar-once", "liar-all")),
        (Toy(5, ((),), threshold=1, exact=False), ("two-liars",)),
        (PARITY, ("liar-first", "liar-soft", "liar-all")),
        (PARITY, ("recheck-first", "recheck-soft", "recheck-all")),
        (ESTIMATE, ("recheck-first", "recheck-soft", "recheck-all", "recheck-two-liars")),
    ):
        for name in names:
            yield pytest.param(code, POLICIES[name], id=f"{NAMES.get(code, code.n)}-{name}")


@pytest.mark.parametrize(("code", "policy"), list(cases()))
def test_every_history_keeps_the_promises(code: Toy, policy: Policy) -> None:
    assert explore(begin(code, policy), observe(code, policy)) > 20


@pytest.mark.parametrize("code", [REPLICATION, PARITY, ANY_SUBSET], ids=NAMES.get)
def test_every_history_of_a_wanted_subset_and_of_unexpected_replies(code: Toy) -> None:
    wanted = frozenset({1})
    seen = observe(code, SOFT, wanted)
    assert explore(begin(code, SOFT, wanted), seen, with_stragglers=True) > 20


@pytest.mark.parametrize("policy", ["soft", "soft-early-hedge", "soft-once", "first", "all"])
@pytest.mark.parametrize("code", [MODELS, MORE_MODELS], ids=NAMES.get)
def test_every_history_of_one_model_s_answer(code: Toy, policy: str) -> None:
    """Its own slot is asked, and the others when it is late or lost."""
    chosen = replace(POLICIES[policy], max_sends=min(2, POLICIES[policy].max_sends))
    wanted = frozenset({1})
    gather, seen = begin(code, chosen, wanted), observe(code, chosen, wanted)
    assert explore(gather, seen, with_stragglers=True) > 10
    at_once = begin(code, chosen, wanted).start(0.0)
    assert len(at_once) == (1 if chosen.wait == "soft" else code.n)


# Planted faults: which promise catches which mutation.


class KeepsOut(Gather):
    def _cancel(self, slots: int) -> None:
        pass


class SendsForEver(Gather):
    def _replace_lost(self) -> None:
        short = [j for j in range(3) if not self._gains.has(j, self._at.came | self._at.out)]
        self._send(short)


class NeverReplaces(Gather):
    def _replace_lost(self) -> None:
        pass


class ReplacesFreely(Gather):
    def _replace_lost(self) -> None:
        self._send(self._choice.sendable(~(self._at.came | self._at.out)))


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
        if self._at.came and self._at.pending:
            answers = tuple(j for j in range(3) if self._at.pending >> j & 1)
            self._commands.append(Answer(answers, self.responders, direct=False))
            self._at.pending = 0


class NeverFails(Gather):
    def _fail(self, answers: object, why: str) -> None:
        pass


class FailsEarly(Gather):
    def _replace_lost(self) -> None:
        self._fail([j for j in range(3) if self._at.pending >> j & 1], "one is lost")


class Oversleeps(Gather):
    def next_due(self) -> float | None:
        return None if self.is_done else DEADLINE


class WakesAtOnce(Gather):
    def next_due(self) -> float | None:
        due = super().next_due()
        return None if due is None else min(due, self._now)


class HedgesForEver(Gather):
    def start(self, now: float) -> list[Command]:
        class Endless(Choice):
            def sendable(self, slots: int) -> list[int]:
                return [slot for slot in range(3) if slots >> slot & 1]

        self._choice = Endless(self._gains, self._policy, self._screen, self._at)
        return super().start(now)


class CancelsResults(Gather):
    def _replied(self, slot: int, replaces_lie: bool = False) -> None:
        super()._replied(slot, replaces_lie)
        if self._at.pending:
            self._commands.append(Cancel((slot,)))


class AsksAllAtOnce(Gather):
    def start(self, now: float) -> list[Command]:
        self._gains = copy.copy(self._gains)
        self._gains.first = lambda answers: -1  # type: ignore[method-assign]
        return super().start(now)


class NeverAsksOthers(Gather):
    def on(self, event: Event, now: float) -> list[Command]:
        self._at.reserve = 0
        return super().on(event, now)


@pytest.mark.parametrize(
    ("machine", "promise"),
    [
        (AsksAllAtOnce, "others are asked when patience ends"),
        (NeverAsksOthers, "when patience ends all are asked"),
    ],
)
def test_asking_others_too_soon_or_never_is_caught(machine: type[Gather], promise: str) -> None:
    wanted = frozenset({1})
    gather, seen = begin(MODELS, SOFT, wanted, machine), observe(MODELS, SOFT, wanted)
    with pytest.raises(AssertionError, match=promise):
        explore(gather, seen)


class Screened(Gather):
    """With another screen in place of its own."""

    screen: type[Screen] = Screen

    def start(self, now: float) -> list[Command]:
        self._screen = self.screen(self._gains, self._policy.liars, self._policy.recheck > 0)
        self._choice = Choice(self._gains, self._policy, self._screen, self._at)
        return super().start(now)


class Believes(Screened):
    class screen(Screen):
        def is_believed(self, slots: int) -> bool:
            return True


class AsksForEver(Screened):
    class screen(Screen):
        def is_possible(self, slots: int) -> bool:
            return slots.bit_count() >= self._fewest + 2 * self._left

        @property
        def needed(self) -> int:
            return self._fewest + 2 * self._left


class Outvoted(Screened):
    class screen(Screen):
        @property
        def needed(self) -> int:
            return self._fewest + 1


class AccusesFreely(Screened):
    class screen(Screen):
        def _most(self, slots: int) -> int:
            return slots.bit_count() - 1


class ForgetsDoubts(Screened):
    class screen(Screen):
        def take(self, slots: int, lied: int | None) -> None:
            super().take(slots, 0 if lied is None else lied)


class KeepsLiars(Screened):
    def on(self, event: Event, now: float) -> list[Command]:
        if isinstance(event, Judged) and event.lied:
            event = Judged(event.slots, ())
        return super().on(event, now)


class AccusesAtOnce(Screened):
    class screen(Screen):
        def question(self, slots: int, sendable: int) -> Doubt | Judge:
            return super().question(slots, 0)


class DoubtsAgain(Screened):
    class screen(Screen):
        def recheck(self, slot: int) -> None:
            super().recheck(slot)
            self._asked = 0


class ForgetsWhoIsSure(Screened):
    class screen(Screen):
        def settle(self, was_lie: bool) -> None:
            super().settle(was_lie)
            self._sure = 0


class BelievesWhomNobodyDoubts(Screened):
    class screen(Screen):
        def clear(self, slots: int) -> None:
            self.take(slots, 0)


class NeverRecalls(Gather):
    def _recall(self, screen: Screen) -> None:
        pass


class RecallsAtOnce(Gather):
    def _decide(self, now: float) -> list[Command]:
        self._recheck_until = now
        return super()._decide(now)


class AnswersMeanwhile(Gather):
    def _decide(self, now: float) -> list[Command]:
        if self._screen is not None and self._screen.rechecked:
            self._give_decoded(is_impatient=True)
        return super()._decide(now)


class GivesOwnAtOnce(Screened):
    def _give_screened(self, screen: Screen, is_impatient: bool) -> bool:
        self._give_own()
        return super()._give_screened(screen, is_impatient)


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
        (Believes, VOTE, "liar-first", "nobody is believed unjudged"),
        (AsksForEver, VOTE, "liar-first", "not judged twice"),
        (Outvoted, VOTE, "liar-first", "who lies can be proved|what can come"),
        (Outvoted, ANY_SUBSET, "liar-first", "liars are outvoted|no resend"),
        (AccusesFreely, VOTE, "liar-first", "who lies can be proved"),
        (AccusesFreely, ANY_SUBSET, "liar-first", "accuses no more|something to find"),
        (ForgetsDoubts, VOTE, "liar-first", "nobody is believed unjudged"),
        (KeepsLiars, EXACT_PARITY, "liar-once", "answers come from responders|all responders"),
        (GivesOwnAtOnce, EXACT_PARITY, "liar-first", "nobody is believed unjudged"),
        (NeverReplaces, VOTE, "liar-first", "it waits for what can come"),
        (AccusesAtOnce, ESTIMATE, "recheck-first", "nobody is accused who can be asked again"),
        (DoubtsAgain, ESTIMATE, "recheck-thrice", "somebody can be doubted"),
        (ForgetsWhoIsSure, ESTIMATE, "recheck-two-liars", "whoever is confirmed is not accused"),
        (BelievesWhomNobodyDoubts, ESTIMATE, "recheck-first", "nobody is believed unjudged"),
        (NeverRecalls, ESTIMATE, "recheck-first", "no second result is waited for too long"),
        (RecallsAtOnce, ESTIMATE, "recheck-first", "a second result has time"),
        (AnswersMeanwhile, ESTIMATE, "recheck-first", "while a result is set aside|unjudged"),
    ],
)
def test_every_promise_catches_its_fault(
    machine: type[Gather], code: Toy, policy: str, promise: str
) -> None:
    seen = observe(code, POLICIES[policy])
    with pytest.raises(AssertionError, match=promise):
        explore(begin(code, POLICIES[policy], machine=machine), seen)
