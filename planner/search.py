"""Simulates candidates, and finds those that nothing beats in tail, accuracy and cost at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from planner.candidates import Candidate
from report.fronts import pareto
from simulator import Outcome, Poisson, Setting, Times, Workers, simulate

AGAIN = 5  # times as many requests for those on the front, and other draws: the lucky drop out
SEEDS = (0, 1)


@dataclass(frozen=True)
class Wish:
    """What is wanted.

    Attributes:
        slo_s: seconds that a request may take,
        quantile: and the share of requests that must keep to them.
        floor: least accuracy over all queries.
    """

    slo_s: float
    quantile: float
    floor: float

    def __post_init__(self) -> None:
        if not 0.0 < self.slo_s < inf:
            raise ValueError(f"The SLO must be above 0 ms, not {1e3 * self.slo_s:g}.")
        if not 0.0 < self.quantile < 1.0:
            raise ValueError(f"The quantile must be between 0 and 1, not {self.quantile:g}.")
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"The accuracy floor must be in 0..1, not {self.floor:g}.")


@dataclass(frozen=True)
class Conditions:
    """Under what it is served: workers with their laws, and the load."""

    workers: tuple[Workers, ...]
    arrivals: Poisson | Times
    rows: int = 1


@dataclass(frozen=True)
class Plan:
    """A candidate and what it came to in virtual time.

    Attributes:
        candidate: what was simulated.
        tail_s: the wished quantile of latency; infinite where more requests than that are refused.
        middle_s: its median.
        accuracy: over all queries, by measured accuracies of the kinds of answers.
        worker_s: workers' time a query,
        master_s: and the master's, for a stem.
        slots: that took a worker's time, a query.
        utilisation: share of the workers' time.
        requests: behind it.
    """

    candidate: Candidate
    tail_s: float
    middle_s: float
    accuracy: float
    worker_s: float
    master_s: float
    slots: float
    utilisation: float
    requests: int

    @property
    def cost_s(self) -> float:
        """Work for a query, wherever it is done."""
        return self.worker_s + self.master_s

    def meets(self, wish: Wish) -> bool:
        """Whether it is all that is wanted."""
        return self.tail_s <= wish.slo_s and self.accuracy >= wish.floor

    def misses_by(self, wish: Wish) -> float:
        """0 where it meets the wish; else how far off: as factors of the SLO and of the error."""
        late = max(0.0, self.tail_s / wish.slo_s - 1)
        wrong = max(0.0, (1 - self.accuracy) / max(1 - wish.floor, 1e-9) - 1)
        return late + wrong


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        plans: of every candidate that was simulated.
        front: those that nothing beats, and the uncoded one; by tail.
        too_inaccurate: candidates that no latency could save, which were not simulated.
        chosen: the cheapest that meets the wish; None where nothing does.
        nearest: what comes nearest, where nothing does.
        plain: uncoded, without hedges.
    """

    plans: tuple[Plan, ...]
    front: tuple[Plan, ...]
    too_inaccurate: tuple[Candidate, ...]
    chosen: Plan | None
    nearest: Plan
    plain: Plan


def search(
    candidates: Sequence[Candidate],
    conditions: Conditions,
    wish: Wish,
    requests: int,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Found:
    """Simulate them all, and the front once more, longer.

    Args:
        candidates: at least the uncoded one, first.
        conditions: of all.
        wish: what is wanted.
        requests: counted for each.
        tell: how many simulations are done, and of about how many.
    """
    able = [one for one in candidates if one.worth.best >= wish.floor or one is candidates[0]]
    plans = []
    for number, candidate in enumerate(able):
        tell(number, len(able))
        plans.append(_plan(candidate, conditions, wish, requests, SEEDS[0]))
    best = _front(plans)
    if plans[0] not in best:
        best.insert(0, plans[0])
    again = []
    for number, plan in enumerate(best):
        tell(len(able) + number, len(able) + len(best))
        again.append(_plan(plan.candidate, conditions, wish, AGAIN * requests, SEEDS[1]))
    plain = next(one for one in again if one.candidate is candidates[0])
    fit = [plan for plan in again if plan.meets(wish)]
    front = _front(again)
    kept = [plan for plan in again if plan in front or plan is plain]
    return Found(
        plans=tuple(plans),
        front=tuple(sorted(kept, key=lambda plan: plan.tail_s)),
        too_inaccurate=tuple(one for one in candidates if one not in able),
        chosen=min(fit, key=lambda plan: (plan.cost_s, plan.tail_s), default=None),
        nearest=min(again, key=lambda plan: (plan.misses_by(wish), plan.cost_s)),
        plain=plain,
    )


def _front(plans: Sequence[Plan]) -> list[Plan]:
    return [plans[place] for place in pareto([(p.tail_s, -p.accuracy, p.cost_s) for p in plans])]


def _plan(
    candidate: Candidate, conditions: Conditions, wish: Wish, requests: int, seed: int
) -> Plan:
    deployment = candidate.deployment
    setting = Setting(
        code=deployment.code.make(),
        workers=conditions.workers,
        arrivals=conditions.arrivals,
        requests=requests,
        policy=deployment.policy.make(),
        rows=conditions.rows,
        limits=deployment.batching.limits(),
        max_in_flight=deployment.batching.max_in_flight,
        timeout_s=deployment.timeout_ms / 1e3,
        work=candidate.work,
        seed=seed,
    )
    return _weighed(candidate, simulate(setting), wish)


def _weighed(candidate: Candidate, outcome: Outcome, wish: Wish) -> Plan:
    share = outcome.refused / max(1, outcome.requests)
    missing = outcome.missing_share
    # A request that is refused, or lacks answers at its deadline, has not kept to anything.
    kept = (wish.quantile / (1 - share)) if share < 1 - wish.quantile else 1.0
    is_late = share >= 1 - wish.quantile or missing >= 1 - wish.quantile
    return Plan(
        candidate,
        tail_s=inf if is_late else outcome.latency.quantile(kept),
        middle_s=outcome.latency.quantile(0.5),
        accuracy=candidate.worth.overall(outcome.direct_share, outcome.decoded_share, missing),
        worker_s=outcome.worker_s_per_query,
        master_s=outcome.master_s_per_query,
        slots=outcome.load_factor,
        utilisation=outcome.utilisation,
        requests=outcome.requests,
    )
