"""Arrays of tasks: their drawn delays and services, and what of them a worker really spends."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.answering import Answers, Array
from simulator.draws import delays_s, quantiles_s
from simulator.outcome import Outcome
from simulator.setting import Setting
from worker.laws import Bursts


@dataclass(frozen=True)
class Tasks:
    """Tasks [g, n], seconds.

    Attributes:
        delays: that are injected before the service.
        services: which are not cut short once begun.
        is_interruptible: whether a cancellation ends a delay.
    """

    delays: Array
    services: Array
    is_interruptible: bool

    @property
    def lengths(self) -> Array:
        """Of whole tasks."""
        return self.delays + self.services

    def busy(self, stops: Array) -> Array:
        """What each takes of its worker, if nobody wants it from so long after its start on."""
        delays = np.minimum(self.delays, stops) if self.is_interruptible else self.delays
        return delays + np.where(stops > self.delays, self.services, 0.0)


def draw(setting: Setting, rng: np.random.Generator, groups: int) -> Tasks:
    """Tasks [groups, n] of the setting's only kind of workers."""
    (kind,) = setting.workers
    shape = groups, setting.code.n
    services = quantiles_s(kind.service, rng.random(shape)) * setting.factors
    delay = kind.faults.delay
    if delay is None:
        return Tasks(np.zeros(shape), services, False)
    assert not isinstance(delay.law, Bursts)  # refused by `simulator.methods`
    delays = delays_s(delay.law, delay.probability, rng, shape)
    return Tasks(delays, services, delay.interruptible)


def count(
    outcome: Outcome,
    setting: Setting,
    answers: Answers,
    busy: Array,
    served: npt.NDArray[np.bool_],
) -> None:
    """Add groups whose answers are known to an outcome.

    Args:
        outcome: is added to.
        setting: of the run.
        answers: of g groups, from the arrival of their requests.
        busy: [g, n], workers' seconds.
        served: [g, n], whether a slot took a worker's time at all.
    """
    groups = setting.rows // setting.code.q
    is_decoded = (answers.gains > 0) & ~answers.missing
    decoded, missing = int(is_decoded.sum()), int(answers.missing.sum())
    outcome.latency.add_all(answers.done)
    outcome.requests += len(answers.times)
    outcome.queries += len(answers.times) * setting.rows
    outcome.missing += groups * missing
    outcome.decoded += groups * decoded
    outcome.direct += groups * (answers.gains.size - decoded - missing)
    outcome.gain_sum += groups * float(answers.gains[is_decoded].sum())
    outcome.sent += groups * served.size
    outcome.served += groups * int(served.sum())
    outcome.busy_s += float(busy[served].sum())
