"""One coded batch's decisions: what to send again, what can be answered, when to give up.

It stands between `scatter`, which moves shards and results, and the code, whose `gain` says what a
set of responders is worth. Events go in and commands come out; it holds slot numbers, no tensors,
no workers and no clock, so that every history of replies, losses and moments can be tested.

How far the batch has come is kept in `progress`, which slots to send is asked of `choice`.
"""

from collections.abc import Iterable
from math import inf

from master.choice import Choice
from master.events import (
    Answer,
    Cancel,
    Command,
    Doubted,
    Event,
    Fail,
    Judged,
    Lost,
    Recall,
    Replied,
    Send,
)
from master.gains import Decodable, Gains, bits, mask
from master.policy import FLOOR_S, Moments, Policy
from master.progress import Progress
from master.screening import Screen


class Gather:
    """The state machine of one coded batch.

    Args:
        code: its gains; a bare code gets its own `Gains`, which costs k gains a batch.
        policy: how patient to be.
        wanted: answers in 0..k-1 that someone waits for.
        started: monotonic seconds, for the words of a failure.
        moments: of the policy, from `policy.moments(latency, started)`.
        impatient_at: from now on everything decodable is answered, whatever the policy says.
        deadline: when the rest fails; finite.

    Raises:
        ValueError: nothing or an unknown answer is wanted, or the deadline is not finite.
    """

    def __init__(
        self,
        code: Decodable | Gains,
        policy: Policy,
        wanted: frozenset[int],
        started: float,
        moments: Moments,
        impatient_at: float,
        deadline: float,
    ) -> None:
        self._gains = code if isinstance(code, Gains) else Gains(code)
        k = self._gains.k
        if not wanted or not all(0 <= answer < k for answer in wanted):
            raise ValueError(f"Argument 'wanted' must be some of 0..{k - 1}, not {sorted(wanted)}.")
        if not abs(deadline) < inf:
            raise ValueError(f"Argument 'deadline' must be finite, not {deadline}.")
        self._policy = policy
        self._screen = None
        if policy.liars:
            self._screen = Screen(self._gains, policy.liars, rechecks=policy.recheck > 0)
        self._started = started
        self._soft_at = inf if moments.soft_at is None else moments.soft_at
        self._hedge_at = inf if moments.hedge_at is None else moments.hedge_at  # the next one
        self._recheck_s, self._recheck_until = moments.recheck_s, inf
        self._hedge_every_s = max(FLOOR_S, self._hedge_at - started)
        self._extras = None if self._screen is not None else moments.extras
        self._impatient_at = min(impatient_at, deadline)
        self._deadline = deadline
        self._now = started  # of the last event
        self._at = Progress(self._gains, mask(wanted))
        self._choice = Choice(self._gains, policy, self._screen, self._at)
        self._commands: list[Command] = []  # of the current event

    @property
    def is_done(self) -> bool:
        """Every wanted answer is given or failed; no command follows."""
        return not self._at.pending

    @property
    def responders(self) -> tuple[int, ...]:
        """Slots that replied before the batch was done and did not lie, ascending."""
        return tuple(bits(self._at.came))

    @property
    def sends(self) -> int:
        """Sends commanded so far, of all slots."""
        return sum(self._at.sends)

    def start(self, now: float) -> list[Command]:
        """Send every slot that can serve a wanted answer; call once, before any event.

        Spare slots stay behind; and until the soft moment those that the code does not ask first.
        Where redundancy is adaptive, all stay behind that the wanted answers do not need.
        """
        self._now = now
        if now < self._deadline:
            everything = (1 << self._gains.sent) - 1
            everything &= ~self._choice.pointless(everything)
            if self._policy.wait == "soft" and self._screen is None:
                self._at.reserve = everything & ~self._gains.first(self._at.pending)
            if self._extras is not None:
                needed = self._choice.needed(everything)
                spare = everything & ~needed
                if spare.bit_count() > self._extras.at_once * needed.bit_count():
                    self._at.reserve = spare
                self._extras.purse.earn((everything & ~self._at.reserve).bit_count())
            self._send(bits(everything & ~self._at.reserve))
        return self._decide(now)

    def on(self, event: Event, now: float) -> list[Command]:
        """Take an event at monotonic second `now`; what to do, in order.

        Late and repeated replies and losses are ignored; a reply after all sends were lost counts.
        """
        if self.is_done:
            return []
        self._now = now
        match event:
            case Replied(slot, replaces_lie):
                self._replied(slot, replaces_lie)
            case Lost(slot) if self._at.open[slot]:
                if self._at.lost(slot):
                    self._give_up(slot)
            case Judged(slots, lied) if self._screen is not None:
                self._screen.take(mask(slots), None if lied is None else mask(lied))
                self._at.forget(mask(lied or ()))
                if now < self._deadline:
                    self._replace_lost()
            case Doubted(slots, None) if self._screen is not None:
                self._screen.clear(mask(slots))
            case Doubted(_, int(slot)) if self._screen is not None:
                self._screen.recheck(slot)
                self._at.forget(1 << slot)
                self._recheck_until = min(now + self._recheck_s, self._impatient_at)
                if now < self._recheck_until:
                    self._send((slot,))
        return self._decide(now)

    def next_due(self) -> float | None:
        """When the next `Tick` is needed, later than the last event; None only when done."""
        if self.is_done:
            return None
        dues = [self._deadline, self._hedge_at]
        if self._policy.wait == "all" or self._screen is not None or self._choice.decodable:
            dues += [self._soft_at, self._impatient_at]
        if self._screen is not None and self._screen.rechecked:
            dues.append(self._recheck_until)
        return min(due for due in dues if due > self._now)

    # What an event changes.

    def _replied(self, slot: int, replaces_lie: bool = False) -> None:
        if self._screen is not None and self._screen.rechecked >> slot & 1:
            self._screen.settle(replaces_lie)
        if self._at.replied(slot):
            self._commands.append(Cancel((slot,)))

    def _give_up(self, slot: int) -> None:
        screen = self._screen
        if screen is not None and screen.rechecked >> slot & 1:
            self._recall(screen)
        if self._now < self._deadline:
            self._replace_lost()

    def _recall(self, screen: Screen) -> None:
        """What is in doubt counts all the same: nobody else will say in time."""
        slot = screen.recall()
        if self._at.open[slot]:
            self._commands.append(Cancel((slot,)))
        self._commands.append(Recall(slot))
        self._at.replied(slot)

    def _replace_lost(self) -> None:
        """Send lost slots again, as few as make every pending answer possible; fail the others."""
        slots, hopeless = self._choice.replacements()
        if hopeless:
            in_doubt = self._screen is not None and self._screen.is_in_doubt
            why = "the results do not fit together" if in_doubt else "too many slots are lost"
            self._fail(hopeless, why)
        if self._extras is not None:
            self._extras.purse.spend(len(slots))
        self._send(slots)

    def _hedge(self) -> None:
        """Send late slots again, or others in their place; and after as long those still late."""
        if self._extras is None:
            self._hedge_at = self._now + self._hedge_every_s
            self._send(self._choice.hedges())
        else:
            self._hedge_at = self._now + self._extras.again_s
            self._send(self._choice.extras(self._extras, self._now))

    # What the state allows.

    def _decide(self, now: float) -> list[Command]:
        screen = self._screen
        if screen is not None and screen.rechecked and now >= self._recheck_until:
            self._recall(screen)
        is_impatient = now >= self._impatient_at or not self._at.out
        is_judging = False
        if screen is not None:
            is_judging = not screen.rechecked and self._give_screened(screen, is_impatient)
        elif is_impatient or self._policy.wait != "all":
            self._give_own()
            self._give_decoded(is_impatient)
        if is_judging:
            return self._take_commands()  # the verdict comes next, before the deadline or a hedge
        if now >= self._deadline and self._at.pending:
            waited_ms = 1e3 * (self._deadline - self._started)
            self._fail(bits(self._at.pending), f"out of time after {waited_ms:.0f} ms")
        if now >= self._soft_at and self._at.pending and self._extras is None:
            self._send(bits(self._at.reserve))
        if now >= self._hedge_at and self._at.pending:
            self._hedge()
        self._cancel(self._choice.pointless(self._at.out))
        return self._take_commands()

    def _take_commands(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def _give_own(self) -> None:
        for answer in bits(self._at.pending & self._at.had):
            slot = next(bits(self._gains.own[answer] & self._at.came))
            self._commands.append(Answer((answer,), (slot,), direct=True))
        self._at.pending &= ~self._at.had

    def _give_decoded(self, is_impatient: bool) -> None:
        ripe, limit = self._choice.decodable, inf
        if not is_impatient:
            if self._at.came.bit_count() < self._choice.wished:
                return
            if self._now < self._soft_at:
                ripe, limit = self._ripe_early(ripe), self._policy.gain_limit
        if not ripe or not self._at.came:
            return
        gains = self._gains.of(self._at.came)
        taken = tuple(j for j in bits(ripe) if gains[j] < inf and gains[j] <= limit)
        if taken:
            self._commands.append(Answer(taken, self.responders, direct=False))
            self._at.pending &= ~mask(taken)

    def _give_screened(self, screen: Screen, is_impatient: bool) -> bool:
        """Give what can be had from responders that were judged; whether they are judged first."""
        came, is_enough = self._at.came, self._at.came.bit_count() >= self._choice.wished
        had = mask(j for j in bits(self._at.pending) if self._gains.has(j, came)) if came else 0
        is_ready = is_enough and self._policy.wait != "all" and self._is_ripe(had)
        if not had or not screen.is_possible(came) or not (is_ready or is_impatient):
            return False
        if not screen.is_believed(came):
            has_time = self._now < self._impatient_at
            again = mask(self._choice.sendable(came)) if has_time else 0
            self._commands.append(screen.question(came, again))
            return True
        self._give_own()
        self._give_decoded(is_impatient=True)
        return False

    def _is_ripe(self, had: int) -> bool:
        """Whether patience ends, or has nothing to wait for: all pending answers at once."""
        if self._now >= self._soft_at:
            return True
        at, gains = self._at, self._gains.of(self._at.came)
        if at.pending & ~(at.had | self._ripe_early(had)):
            return False
        limit = self._policy.gain_limit
        return all(at.had >> j & 1 or gains[j] <= limit for j in bits(at.pending))

    def _ripe_early(self, answers: int) -> int:
        """Of these answers, those to decode before the soft moment.

        Under "soft" these are the answers that waiting cannot improve: the code is exact and no
        own slot can reply any more. An approximate decoder gains by every further responder.
        """
        if self._policy.wait == "first":
            return answers
        if not self._gains.exact:
            return 0
        return mask(j for j in bits(answers) if not self._gains.own[j] & self._at.out)

    # Commands.

    def _send(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._commands.append(Send(slot, self._at.sent(slot, self._now)))

    def _cancel(self, slots: int) -> None:
        if slots:
            self._commands.append(Cancel(tuple(bits(slots))))
            self._at.let_go(slots)

    def _fail(self, answers: Iterable[int], why: str) -> None:
        failed = tuple(answers)
        replied, total, out = self._at.came.bit_count(), self._gains.n, self._at.out.bit_count()
        still_out = f", {out} are still out" if out else ""
        reason = f"{why}: {replied} of {total} slots replied{still_out}"
        if self._screen is not None:
            lied = f", {self._screen.found} lied" if self._screen.found else ""
            reason = f"{reason}{lied}; {self._screen!r}"
        self._commands.append(Fail(failed, self.responders, reason))
        self._at.pending &= ~mask(failed)
