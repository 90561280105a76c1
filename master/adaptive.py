"""Redundancy only where it pays: what a deployment learns of its tasks' times, and does about it.

A batch under `wait: adaptive` sends what gives its answers and no more. A task that is out for
longer than those that do not straggle is late, and only then is something sent in its place, out
of a purse that fills with every task: its budget is never exceeded but to replace what failed. All
slots are sent at once, as by any other policy, where the budget pays for that and for what is late
then, and workers have the time; and where stragglers, which take several times as long as others,
are without doubt too common for it.

It decides when and how much; which slots are worth it is `choice`'s, and when a batch asks is
`gather`'s. It reads no clock.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, sqrt

from master.assignment import LATE_FACTOR
from master.extras import Extras, Purse
from master.lateness import Lateness
from master.policy import FALLBACK_S, FLOOR_S, MIN_SAMPLES, Moments

BULK = 0.98  # of the tasks that are no stragglers: once so many would have replied, one is late
LATE_AT_LEAST = 1.25  # times the median: however alike tasks are, noise alone makes none late
# Times what is usual: a straggler. On a busy machine a tenth of the tasks takes twice as long: more
# tasks make the machine busier, and help little.
STRAGGLING = 3.0
OUT = 1.1  # times what is usual: who was let go before was not late
SURE = 2.0  # standard errors by which stragglers must be common: a burst of noise is not
WAVES = 3  # times as long: who is out for longer is taken to be as likely to reply
COMMON, RARE = 0.75, 0.7  # times the budget: stragglers from and to which all is sent at once
# Extra tasks for each task that a budget must leave for what is late, to pay for all at once.
LEFT, ROUNDING = 0.05, 1e-9
# Tasks that a worker has to do already, on average over batches: while there are fewer than `SHORT`
# all at once make nobody wait for long; with `LONG` they are why.
SHORT, LONG = 1.25, 3.0
STEADY = 0.997  # weight of the batches before in that average, once there are many
# Sending all at once harms where the median grows by so much: the workers have too much to do.
WORSE = 1.5
# Estimates, of a sixteenth of the law's window each, until it is tried again; each time longer.
FIRST_HOLD, LONGEST_HOLD = 8, 256


class Adaptive:
    """What a deployment has learned.

    Args:
        budget: extra tasks for each task, as a share.
        redundancy: what all slots at once cost: extra tasks for each task that is needed.
    """

    def __init__(self, budget: float, redundancy: float = inf) -> None:
        self._budget = budget
        self._law = Lateness()  # of tasks, in seconds
        # ... and in times of what is usual: the median of the last tasks or, if that is longer, of
        # the batch's own replies. What slows a whole batch makes nobody a straggler.
        self._stretch = Lateness()
        self._pays = 0.0 < redundancy <= budget - LEFT + ROUNDING  # for all slots at once
        self._at_once = redundancy + ROUNDING
        left = (budget - redundancy) / (1.0 + redundancy) if self._pays else budget
        self._purse = Purse(left)  # for what is late
        self._is_eager = self._pays  # all slots are sent at once, as long as queues are short
        self._queue, self._batches = 0.0, 0  # what a batch finds on average, and how many did
        self._is_common = False  # stragglers are, so that all slots are sent at once all the same
        self._usual_s = 0.0  # the median when they were not
        self._hold, self._next_hold = 0, FIRST_HOLD  # estimates until all may be sent at once
        self._extras = Extras(inf, FALLBACK_S, FALLBACK_S, 0.5, (0.5,), self._purse)
        self._estimate = 0  # of the law, that `_extras` are from

    def ended(self, tasks: Sequence[tuple[float, bool]]) -> None:
        """A batch is over.

        Args:
            tasks: of each the seconds that it was out, and whether it replied then; else it was
                let go. Lost ones are not among them.
        """
        usual_s = self._law.quantile(0.5) if self._law.count >= MIN_SAMPLES else 0.0
        replies = sorted(lasted_s for lasted_s, replied in tasks if replied)
        if len(replies) > 1:
            usual_s = max(usual_s, replies[(len(replies) - 1) // 2])
        for lasted_s, replied in tasks:
            self._law.add(lasted_s, replied=replied)
            if usual_s > 0.0:
                self._stretch.add(lasted_s / usual_s, replied=replied)

    def moments(
        self, started: float, patience_s: float | None = None, queue: float = 0.0
    ) -> Moments:
        """Of a batch that starts at `started` (monotonic seconds).

        Args:
            patience_s: from then on decoded answers are taken, if that is before those would have
                replied that do not straggle; None: from then on.
            queue: tasks that a worker has to do already, on average.
        """
        if self._law.count >= MIN_SAMPLES and self._law.estimates != self._estimate:
            self._estimate = self._law.estimates
            self._extras = self._learn()
        extras = self._extras
        if self._pays:
            self._batches += 1
            self._queue += max(1.0 - STEADY, 1.0 / self._batches) * (queue - self._queue)
            self._is_eager = self._queue < (LONG if self._is_eager else SHORT)
            extras = replace(extras, at_once=self._at_once if self._is_eager else 0.0)
        soft_s = extras.again_s if patience_s is None else min(extras.again_s, patience_s)
        return Moments(started + soft_s, started + extras.late_s, extras, recheck_s=soft_s)

    def _learn(self) -> Extras:
        law = self._law
        median_s = law.quantile(0.5)
        straggling = self._stretch.straggling(STRAGGLING, OUT)
        self._judge(median_s, straggling)
        bulk_s = law.quantile(BULK * (1.0 - law.longer(LATE_FACTOR * median_s)))
        again_s = max(FLOOR_S, LATE_AT_LEAST * median_s, bulk_s)
        return Extras(
            inf if self._is_common else 0.0,
            again_s,
            max(again_s, LATE_FACTOR * median_s),
            new=BULK * (1.0 - straggling),
            late=tuple(law.chance(again_s, wave * again_s) for wave in range(1, WAVES + 1)),
            purse=self._purse,
        )

    def _judge(self, median_s: float, straggling: float) -> None:
        """Whether stragglers are common, and whether sending all at once does any good."""
        if not self._is_common:
            self._usual_s = median_s
            self._hold = max(0, self._hold - 1)
            doubt = SURE * sqrt(straggling * (1.0 - straggling) / self._law.count)
            is_sure = straggling - doubt > COMMON * self._budget
            self._is_common = not self._pays and not self._hold and is_sure
        elif median_s > WORSE * self._usual_s:
            self._is_common = False
            self._hold, self._next_hold = self._next_hold, min(2 * self._next_hold, LONGEST_HOLD)
        elif straggling < RARE * self._budget:
            self._is_common = False
            self._next_hold = FIRST_HOLD
