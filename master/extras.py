"""Extra tasks: what they are expected to give, and what may be spent on them.

A purse is a deployment's and shared by its batches; `gather` spends from it, `adaptive` says what
the chances are.
"""

from dataclasses import dataclass

MOST_SAVED = 40.0  # tasks: what a purse holds, and what a burst of stragglers may cost at once
DEAREST, FAIR, CHEAPEST = 0.8, 0.15, 0.03  # answers a task: its price of no, half, a full purse


class Purse:
    """Tasks that may be sent beside those that are needed.

    Args:
        budget: extra tasks for each task sent.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self._saved = 0.0  # below 0 after losses, which are replaced in any case

    @property
    def level(self) -> float:
        """How full it is, 0 to 1."""
        return max(0.0, self._saved / MOST_SAVED)

    def earn(self, tasks: int) -> None:
        """So many tasks were sent as a batch began."""
        self._saved = min(MOST_SAVED, self._saved + self.budget * tasks)

    def spend(self, tasks: int) -> None:
        """So many were sent later."""
        self._saved -= tasks

    def can_pay(self, tasks: int) -> bool:
        """Whether so many are there."""
        return self._saved >= tasks

    @property
    def price(self) -> float:
        """Answers that a task must be expected to give: the more the less is saved.

        What is left over half a purse goes to second copies of what is late, which give little on
        average and much in the tail: a group of four waits for its unluckiest task.
        """
        if self.level < 0.5:
            return max(FAIR, DEAREST * (1.0 - 2.0 * self.level))
        return max(CHEAPEST, FAIR * (2.0 - 2.0 * self.level))


@dataclass(frozen=True)
class Extras:
    """What a batch knows of its extra tasks.

    Attributes:
        at_once: extra tasks for each that is needed that may be sent with those; if there are more,
            none is.
        again_s: in which all but few tasks reply that are no stragglers.
        latest_s: in which stragglers only do not.
        new: chance that a task replies within `again_s`.
        late: chances that one does that is out for `again_s`, for twice as long, and so on.
        purse: of the deployment; what the batch sends changes it.
    """

    at_once: float
    again_s: float
    latest_s: float
    new: float
    late: tuple[float, ...]
    purse: Purse

    @property
    def late_s(self) -> float:
        """Until a task is late, from its sending: the less is saved the surer one waits to be."""
        spare = min(1.0, 2.0 * self.purse.level)
        return self.latest_s - (self.latest_s - self.again_s) * spare

    def hope(self, age_s: float) -> float:
        """The chance that a late task that is out for so long replies within `again_s`."""
        return self.late[min(max(round(age_s / self.again_s), 1), len(self.late)) - 1]
