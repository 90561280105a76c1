"""When each answer of many groups comes, given when each slot replies: `gather`'s rules on arrays.

For policies whose moments are fixed, and codes whose slots are all sent at once. What `gather`
decides by itself, event by event, is here a minimum over the states that a group passes through:
s slots have replied, s = 1..n.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from master.events import Replied, Send, Tick
from master.gains import Gains, bits, mask
from master.gather import Gather
from master.latency import Latency
from master.policy import reply_margin_s, usual
from simulator.setting import Setting

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Of g groups, seconds from their start.

    Attributes:
        times: [g, k], at most the deadline.
        gains: [g, k], 0 where the answer is direct.
        missing: [g, k] bool.
        stops: [g, n], from when on a slot is not wanted any more.
    """

    times: Array
    gains: Array
    missing: npt.NDArray[np.bool_]
    stops: Array

    @property
    def done(self) -> Array:
        """[g], when the last answer is there or has failed."""
        return np.asarray(self.times.max(axis=1))


class Rule:
    """A code and a policy that `simulator.methods` accepts.

    Args:
        setting: of the run.
    """

    def __init__(self, setting: Setting) -> None:
        policy = usual(setting.policy, setting.code)
        moments = policy.moments(Latency(), 0.0)
        self._policy, self._gains = policy, Gains(setting.code)
        self._deadline_s = setting.timeout_s
        self._impatient_s = setting.timeout_s - reply_margin_s(setting.timeout_s)
        self._soft_s = inf if moments.soft_at is None else moments.soft_at
        self.hedge_s = moments.hedge_at
        self._moments = moments
        self._own = [np.array(list(bits(own)), np.int64) for own in self._gains.own]
        self._again: dict[int, tuple[int, ...]] = {}  # by who has replied: whom a hedge asks

    def answers(self, replies: Array) -> Answers:
        """What replies [g, n] give, infinity where a slot never does."""
        own, decoded, gains = self._own_times(replies), *self._decoded(replies)
        times = np.minimum(own, decoded)
        gains[own <= decoded] = 0.0
        missing = times > self._deadline_s
        times = np.minimum(times, self._deadline_s)
        return Answers(times, gains, missing, self._stops(times))

    def hedged(self, replies: Array) -> npt.NDArray[np.bool_]:
        """Which slots [g, n] are sent once more at the hedge's moment."""
        assert self.hedge_s is not None  # who has none does not ask
        came = ((replies <= self.hedge_s) << np.arange(replies.shape[1])).sum(axis=1)
        kinds, which = np.unique(came, return_inverse=True)
        again = np.zeros((len(kinds), replies.shape[1]), bool)
        for place, slots in enumerate(kinds.tolist()):
            again[place, list(self._asked_again(slots))] = True
        return again[which]

    def _own_times(self, replies: Array) -> Array:
        times = np.full((len(replies), self._gains.k), inf)
        for j, slots in enumerate(self._own):
            if len(slots):
                times[:, j] = replies[:, slots].min(axis=1)
        if self._policy.wait == "all":
            ends = np.minimum(replies.max(axis=1), self._impatient_s)
            times = np.maximum(times, ends[:, None])
        return times

    def _decoded(self, replies: Array) -> tuple[Array, Array]:
        """When answers can be decoded [g, k], and with what gain."""
        policy = self._policy
        g, n = replies.shape
        times, found = np.full((g, self._gains.k), inf), np.ones((g, self._gains.k))
        if self._gains.own_only == mask(range(self._gains.k)):
            return times, found
        order = np.argsort(replies, axis=1, kind="stable")
        came = np.cumsum(np.int64(1) << order, axis=1)
        at = np.take_along_axis(replies, order, axis=1)
        # Under "soft" only what waiting cannot improve is decoded early.
        early = np.array(
            [policy.wait == "first" or (self._gains.exact and not own) for own in self._gains.own]
        )
        for s in range(n):
            since = at[:, s, None]
            gains = self._gains_of(came[:, s])
            when = np.full((g, self._gains.k), inf)
            if s == n - 1:
                when[:] = since  # nothing more will come
            else:
                when[:] = np.maximum(since, self._impatient_s)
                if policy.wait != "all" and s + 1 >= (policy.recovery_threshold or 1):
                    np.minimum(when, np.maximum(since, self._soft_s), out=when)
                    is_early = early & (gains <= policy.gain_limit)
                    when = np.where(is_early, since, when)
                # A state that passes before its moment gives nothing; one of no length may.
                when[(when != since) & (when >= at[:, s + 1, None])] = inf
            is_new = np.isfinite(gains) & (when < times)
            times = np.where(is_new, when, times)
            found = np.where(is_new, gains, found)
        return times, found

    def _gains_of(self, came: npt.NDArray[np.int64]) -> Array:
        kinds, which = np.unique(came, return_inverse=True)
        return np.array([self._gains.of(slots) for slots in kinds.tolist()])[which]

    def _stops(self, times: Array) -> Array:
        n = self._gains.n
        if self._gains.own_only and self._policy.wait != "all":
            stops = np.zeros((len(times), n))
            for slot, answers in enumerate(self._gains.answers):
                stops[:, slot] = times[:, list(bits(answers))].max(axis=1)
            return stops
        return np.repeat(times.max(axis=1, keepdims=True), n, axis=1)

    def _asked_again(self, came: int) -> tuple[int, ...]:
        """The slots that a hedge sends, by a `Gather` that has met these replies."""
        known = self._again.get(came)
        if known is not None:
            return known
        assert self.hedge_s is not None
        everything = frozenset(range(self._gains.k))
        gather = Gather(self._gains, self._policy, everything, 0.0, self._moments, inf, 1e300)
        gather.start(0.0)
        for slot in bits(came):
            gather.on(Replied(slot), 0.0)
        commands = gather.on(Tick(), self.hedge_s)
        slots = tuple(command.slot for command in commands if isinstance(command, Send))
        self._again[came] = slots
        return slots
