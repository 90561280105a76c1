"""One coded batch's decisions: what to send again, what can be answered, when to give up.

It stands between `scatter`, which moves shards and results, and the code, whose `gain` says what a
set of responders is worth. Events go in and commands come out; it holds slot numbers, no tensors,
no workers and no clock, so that every history of replies, losses and moments can be tested.

Sets of slots and of answers are bit masks inside, so that an event costs little at any n.
"""

from collections.abc import Callable, Iterable
from math import inf

from master.events import (
    Answer,
    Cancel,
    Command,
    Event,
    Fail,
    Judge,
    Judged,
    Lost,
    Replied,
    Send,
)
from master.gains import Decodable, Gains, bits, mask
from master.policy import Moments, Policy
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
        k, n = self._gains.k, self._gains.n
        if not wanted or not all(0 <= answer < k for answer in wanted):
            raise ValueError(f"Argument 'wanted' must be some of 0..{k - 1}, not {sorted(wanted)}.")
        if not abs(deadline) < inf:
            raise ValueError(f"Argument 'deadline' must be finite, not {deadline}.")
        self._policy = policy
        self._screen = Screen(self._gains, policy.liars) if policy.liars else None
        self._started = started
        self._soft_at = inf if moments.soft_at is None else moments.soft_at
        self._hedge_at = inf if moments.hedge_at is None else moments.hedge_at  # inf once done
        self._impatient_at = min(impatient_at, deadline)
        self._deadline = deadline
        self._now = -inf  # of the last event
        self._pending = mask(wanted)  # answers neither given nor failed; only shrinks
        self._came = 0  # slots that replied and were not found to lie
        self._had = 0  # answers that are some result of `_came`
        self._out = 0  # slots with an open send and no reply
        self._reserve = 0  # slots that are sent first when patience ends
        self._open = [0] * n  # sends of a slot without an end; 0 once cancelled
        self._sends = [0] * n  # sends of a slot ever, at most policy.max_sends
        self._commands: list[Command] = []  # of the current event

    @property
    def is_done(self) -> bool:
        """Every wanted answer is given or failed; no command follows."""
        return not self._pending

    @property
    def responders(self) -> tuple[int, ...]:
        """Slots that replied before the batch was done and did not lie, ascending."""
        return tuple(bits(self._came))

    @property
    def sends(self) -> int:
        """Sends commanded so far, of all slots."""
        return sum(self._sends)

    def start(self, now: float) -> list[Command]:
        """Send every slot that can serve a wanted answer; call once, before any event.

        Spare slots stay behind; and until the soft moment those that the code does not ask first.
        """
        if now < self._deadline:
            everything = (1 << self._gains.sent) - 1
            everything &= ~self._pointless(everything)
            if self._policy.wait == "soft" and self._screen is None:
                self._reserve = everything & ~self._gains.first(self._pending)
            self._send(bits(everything & ~self._reserve))
        return self._decide(now)

    def on(self, event: Event, now: float) -> list[Command]:
        """Take an event at monotonic second `now`; what to do, in order.

        Late and repeated replies and losses are ignored; a reply after all sends were lost counts.
        """
        if self.is_done:
            return []
        match event:
            case Replied(slot):
                self._replied(slot)
            case Lost(slot) if self._open[slot]:
                self._open[slot] -= 1
                if not self._open[slot]:
                    self._out &= ~(1 << slot)
                    if now < self._deadline:
                        self._replace_lost()
            case Judged(slots, lied) if self._screen is not None:
                self._screen.take(mask(slots), None if lied is None else mask(lied))
                self._came &= ~mask(lied or ())
                self._had = 0
                for slot in bits(self._came):
                    self._had |= self._gains.answers[slot]
                if now < self._deadline:
                    self._replace_lost()
        return self._decide(now)

    def next_due(self) -> float | None:
        """When the next `Tick` is needed, later than the last event; None only when done."""
        if self.is_done:
            return None
        dues = [self._deadline, self._hedge_at]
        if self._policy.wait == "all" or self._screen is not None or self._decodable_pending:
            dues += [self._soft_at, self._impatient_at]
        return min(due for due in dues if due > self._now)

    # What an event changes.

    def _replied(self, slot: int) -> None:
        if self._came >> slot & 1:
            return
        self._came |= 1 << slot
        self._had |= self._gains.answers[slot]
        self._out &= ~(1 << slot)
        if self._open[slot] > 1:
            self._commands.append(Cancel((slot,)))
        self._open[slot] = 0

    def _replace_lost(self) -> None:
        """Send lost slots again, as few as make every pending answer possible; fail the others."""
        has, available = self._can_have, self._came | self._out
        needed = self._wished if self._screen is not None or self._decodable_pending else 0
        short = [answer for answer in bits(self._pending) if not has(answer, available)]
        if not short and available.bit_count() >= needed:
            return
        spare = self._sendable(~available)
        with_spare = available | mask(spare)
        hopeless = [answer for answer in short if not has(answer, with_spare)]
        short = [answer for answer in short if has(answer, with_spare)]
        if hopeless:
            in_doubt = self._screen is not None and self._screen.is_in_doubt
            why = "the results do not fit together" if in_doubt else "too many slots are lost"
            self._fail(hopeless, why)
        needed = min(needed, with_spare.bit_count())

        def is_enough(slots: int) -> bool:
            return slots.bit_count() >= needed and all(has(answer, slots) for answer in short)

        self._send(self._fewest(spare, available, is_enough))

    def _hedge(self) -> None:
        """Send late slots once more, as few as the pending answers need; spare ones in their place,
        where there are any."""
        late = self._sendable(self._out)
        if self._policy.wait == "all":
            self._send(late)
            return
        instead = self._best_spares(self._out.bit_count()) if self._decodable_pending else []
        late = instead + late[len(instead) :]
        self._send(self._fewest(late, self._came, self._is_served(self._came | mask(late))))

    def _best_spares(self, count: int) -> list[int]:
        """Spare slots not sent yet, each the one that lowers the worst gain the most with those
        that came and those chosen before."""
        left = [slot for slot in range(self._gains.sent, self._gains.n) if not self._sends[slot]]
        chosen: list[int] = []
        pending = tuple(bits(self._decodable_pending))

        def worst_gain(slot: int) -> float:
            gains = self._gains.of(self._came | mask([*chosen, slot]))
            return max(gains[answer] for answer in pending)

        while left and len(chosen) < count:
            best = min(left, key=worst_gain)
            left.remove(best)
            chosen.append(best)
        return chosen

    # What the state allows.

    def _decide(self, now: float) -> list[Command]:
        self._now = now
        is_impatient = now >= self._impatient_at or not self._out
        is_judging = False
        if self._screen is not None:
            is_judging = self._give_screened(self._screen, is_impatient)
        elif is_impatient or self._policy.wait != "all":
            self._give_own()
            self._give_decoded(is_impatient)
        if is_judging:
            return self._take_commands()  # the verdict comes next, before the deadline or a hedge
        if now >= self._deadline and self._pending:
            waited_ms = 1e3 * (self._deadline - self._started)
            self._fail(bits(self._pending), f"out of time after {waited_ms:.0f} ms")
        if now >= self._soft_at and self._pending:
            self._send(bits(self._reserve))
        if now >= self._hedge_at and self._pending:
            self._hedge_at = inf
            self._hedge()
        self._cancel(self._pointless(self._out))
        return self._take_commands()

    def _take_commands(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def _give_own(self) -> None:
        for answer in bits(self._pending & self._had):
            slot = next(bits(self._gains.own[answer] & self._came))
            self._commands.append(Answer((answer,), (slot,), direct=True))
        self._pending &= ~self._had

    def _give_decoded(self, is_impatient: bool) -> None:
        ripe, limit = self._decodable_pending, inf
        if not is_impatient:
            if self._came.bit_count() < self._wished:
                return
            if self._now < self._soft_at:
                ripe, limit = self._ripe_early(ripe), self._policy.gain_limit
        if not ripe or not self._came:
            return
        gains = self._gains.of(self._came)
        taken = tuple(j for j in bits(ripe) if gains[j] < inf and gains[j] <= limit)
        if taken:
            self._commands.append(Answer(taken, self.responders, direct=False))
            self._pending &= ~mask(taken)

    def _give_screened(self, screen: Screen, is_impatient: bool) -> bool:
        """Give what can be had from responders that were judged; whether they are judged first."""
        came, is_enough = self._came, self._came.bit_count() >= self._wished
        had = mask(j for j in bits(self._pending) if self._gains.has(j, came)) if came else 0
        is_ready = is_enough and self._policy.wait != "all" and self._is_ripe(had)
        if not had or not screen.is_possible(came) or not (is_ready or is_impatient):
            return False
        if not screen.is_believed(came):
            self._commands.append(Judge(self.responders, screen.most(came)))
            return True
        self._give_own()
        self._give_decoded(is_impatient=True)
        return False

    def _is_ripe(self, had: int) -> bool:
        """Whether patience ends, or has nothing to wait for: all pending answers at once."""
        if self._now >= self._soft_at:
            return True
        ripe, gains = self._had | self._ripe_early(had), self._gains.of(self._came)
        return not self._pending & ~ripe and all(
            self._had >> j & 1 or gains[j] <= self._policy.gain_limit for j in bits(self._pending)
        )

    def _ripe_early(self, answers: int) -> int:
        """Of these answers, those to decode before the soft moment.

        Under "soft" these are the answers that waiting cannot improve: the code is exact and no
        own slot can reply any more. An approximate decoder gains by every further responder.
        """
        if self._policy.wait == "first":
            return answers
        if not self._gains.exact:
            return 0
        return mask(j for j in bits(answers) if not self._gains.own[j] & self._out)

    @property
    def _wished(self) -> int:
        """Responders to wait for, as long as they can come."""
        needed = 0 if self._screen is None else self._screen.needed
        return max(self._policy.recovery_threshold or 1, needed)

    def _can_have(self, answer: int, slots: int) -> bool:
        """Whether a mask of responders gives this answer, if those lie that may."""
        is_possible = self._screen is None or self._screen.is_possible(slots)
        return is_possible and self._gains.has(answer, slots)

    @property
    def _decodable_pending(self) -> int:
        return self._pending & ~self._gains.own_only

    def _is_served(self, attainable: int) -> Callable[[int], bool]:
        """Whether responders would do for every pending answer, as far as `attainable` would."""
        gains, policy = self._gains, self._policy
        # An estimate is second best where there is patience, so that a late own slot is hedged.
        prefers_own = policy.wait == "soft" and not gains.exact
        threshold = min(self._wished, attainable.bit_count())

        def serves(answer: int, slots: int) -> bool:
            own = gains.own[answer]
            if slots & own or not gains.has(answer, attainable):
                return True
            if (prefers_own and attainable & own) or not gains.has(answer, slots):
                return False
            limit = policy.gain_limit
            return gains.of(slots)[answer] <= limit or gains.of(attainable)[answer] > limit

        def is_served(slots: int) -> bool:
            if self._decodable_pending and slots.bit_count() < threshold:
                return False
            return all(serves(answer, slots) for answer in bits(self._pending))

        return is_served

    def _pointless(self, slots: int) -> int:
        """Of these slots, those that no pending answer can use."""
        if self._pending and (self._policy.wait == "all" or self._screen is not None):
            return 0
        if self._decodable_pending:
            return 0  # any slot may help to decode
        for answer in bits(self._pending):
            slots &= ~self._gains.own[answer]
        return slots

    def _sendable(self, slots: int) -> list[int]:
        """Of a mask of slots, those with a send left: own slots first, then the least sent."""
        wanted = 0
        for answer in bits(self._pending):
            wanted |= self._gains.own[answer]
        left = (s for s, sends in enumerate(self._sends) if sends < self._policy.max_sends)
        own_first = sorted(left, key=lambda s: (not wanted >> s & 1, self._sends[s], s))
        return [s for s in own_first if slots >> s & 1]

    @staticmethod
    def _fewest(candidates: list[int], given: int, is_enough: Callable[[int], bool]) -> list[int]:
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

    # Commands.

    def _send(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._commands.append(Send(slot, self._sends[slot]))
            self._sends[slot] += 1
            self._open[slot] += 1
            self._out |= 1 << slot
            self._reserve &= ~(1 << slot)

    def _cancel(self, slots: int) -> None:
        if slots:
            self._commands.append(Cancel(tuple(bits(slots))))
            self._out &= ~slots
            for slot in bits(slots):
                self._open[slot] = 0

    def _fail(self, answers: Iterable[int], why: str) -> None:
        failed = tuple(answers)
        replied, total, out = self._came.bit_count(), self._gains.n, self._out.bit_count()
        still_out = f", {out} are still out" if out else ""
        reason = f"{why}: {replied} of {total} slots replied{still_out}"
        if self._screen is not None:
            lied = f", {self._screen.found} lied" if self._screen.found else ""
            reason = f"{reason}{lied}; {self._screen!r}"
        self._commands.append(Fail(failed, self.responders, reason))
        self._pending &= ~mask(failed)
