"""The simulator beside closed forms: a setting, a figure of its outcome, and its value."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import exp, sqrt
from typing import Any, Literal

import codes
from master.batcher import Limits
from master.policy import Delay, Policy
from simulator import Outcome, Poisson, Setting, Workers, simulate, theory
from worker.faults import Delay as Injected
from worker.faults import Faults
from worker.laws import Bimodal, Expon, Law, Pareto, WeibullMin

DRAWS, JOBS = 400_000, 4_000_000  # groups that do not wait; jobs of queues near load 0.7
SIGMAS = 4.0  # of a share's standard error
LATE_S = 5.0  # a slow task where only lateness matters; a deadline is at 1 s

Bound = Literal["equal", "at most", "at least"]


@dataclass(frozen=True)
class Case:
    """One closed form.

    Attributes:
        name: of the fact, with its point.
        formula: in symbols.
        theory: its value.
        setting: of the full precision; `requests` are its draws.
        figure: what of an outcome it is.
        tolerance: share of the value; of a probability None: four standard errors of its draws.
        bound: "equal", or on which side of the value the figure must be.
    """

    name: str
    formula: str
    theory: float
    setting: Setting
    figure: Callable[[Outcome], float]
    tolerance: float | None = 0.01
    bound: Bound = "equal"

    def allowed(self, requests: int) -> float:
        """How far the figure may be from the value, at so many draws."""
        if self.tolerance is None:
            return SIGMAS * sqrt(self.theory * (1 - self.theory) / requests)
        return self.tolerance * self.theory * max(1.0, sqrt(self.setting.requests / requests))

    def measure(self, share: float = 1.0) -> dict[str, Any]:
        """A row: simulated with a share of the draws."""
        requests = int(self.setting.requests * share)
        outcome = simulate(replace(self.setting, requests=requests))
        found = self.figure(outcome)
        difference = found - self.theory
        allowed = self.allowed(requests)
        is_within = {
            "equal": abs(difference) <= allowed,
            "at most": difference <= allowed,
            "at least": difference >= -allowed,
        }[self.bound]
        return {
            "fact": self.name,
            "formula": self.formula,
            "theory": self.theory,
            "bound": self.bound,
            "simulated": found,
            "difference": difference / self.theory,
            "allowed": allowed / self.theory,
            "is_within": is_within,
            "requests": outcome.requests,
            "method": outcome.method,
            "seconds": outcome.wall_s,
        }


def cases() -> Iterator[Case]:
    """All of them: order statistics, hedging, shares, queues."""
    yield from _order_statistics()
    yield from _hedging()
    yield from _shares()
    yield from _queues()


def _mean(outcome: Outcome) -> float:
    return outcome.latency.mean


def _setting(code: codes.Code, workers: Workers, requests: int, **rest: Any) -> Setting:
    defaults: dict[str, Any] = {
        "arrivals": Poisson(1.0),
        "policy": Policy(wait="first", recovery_threshold=code.k),
        "rows": code.q,
        "limits": Limits(max_groups=1, max_delay_s=0.0, queue_rows=20 * JOBS),
        "max_in_flight": None,
        "timeout_s": 1e9,
    }
    return Setting(code, (workers,), requests=requests, **(defaults | rest))


def _k_of_n(law: Law, k: int = 8, n: int = 10, **rest: Any) -> Setting:
    """Any k of n tasks, none of which waits."""
    code = codes.make("parity", k=k, n=n, weights="cauchy")
    return _setting(code, Workers(None, law), DRAWS, **rest)


def _order_statistics() -> Iterator[Case]:
    shifted = _k_of_n(Expon(1.0, 0.5))
    yield Case(
        "shifted exponential, 8th of 10, c = 1, μ = 2", "c + (H_n − H_{n−k}) / μ",
        theory.shifted_exponential(10, 8, 1.0, 2.0), shifted, _mean,
    )  # fmt: skip
    yield Case(
        "its variance", "(H2_n − H2_{n−k}) / μ²",
        theory.shifted_exponential_variance(10, 8, 2.0), shifted,
        lambda outcome: outcome.latency.variance,
    )  # fmt: skip
    yield Case(
        "Pareto, 8th of 10, α = 2.5", "x_m Γ(n+1) Γ(n−k+1−1/α) / (Γ(n−k+1) Γ(n+1−1/α))",
        theory.pareto(10, 8, 1.0, 2.5), _k_of_n(Pareto(0.0, 1.0, 2.5)), _mean,
    )  # fmt: skip
    weibull = WeibullMin(0.0, 1.0, 0.7)
    copies = codes.make("replication", k=1, n=10)
    yield Case(
        "Weibull, first of 10, s = 0.7", "λ n^(−1/s) Γ(1 + 1/s)",
        theory.weibull(10, 1, 1.0, 0.7), _setting(copies, Workers(None, weibull), DRAWS), _mean,
    )  # fmt: skip
    yield Case(
        "Weibull, 8th of 10, s = 0.7", "Σ ± C(j−1,n−k) C(n,j) λ j^(−1/s) Γ(1+1/s)",
        theory.weibull(10, 8, 1.0, 0.7), _k_of_n(weibull), _mean,
    )  # fmt: skip
    yield Case(
        "bimodal, 8th of 10, p = 0.1, B = 10", "P + B (1 − P), P = P(Bin(n, 1−p) ≥ k)",
        theory.bimodal(10, 8, 1.0, 10.0, 0.1), _k_of_n(Bimodal(1.0, 10.0, 0.1)), _mean,
    )  # fmt: skip
    yield Case(
        "8 of 10 by a deadline of 1.6", "P(Bin(n, F(D)) ≥ k)",
        theory.at_least(10, 8, 1 - exp(-2 * 0.6)), shifted,
        lambda outcome: outcome.latency.share_within(1.6),
    )  # fmt: skip
    yield Case(
        "a job split in 5, coded into 10, μ = 2", "(1 + (H_n − H_{n−k}) / μ) / k",
        theory.split_job(10, 5, 2.0), _k_of_n(Expon(1 / 5, 1 / 10), k=5), _mean,
    )  # fmt: skip


def _hedging() -> Iterator[Case]:
    policy = Policy(wait="first", hedge=Delay(fixed_s=1.3), max_sends=2)
    uncoded = codes.make("uncoded", k=1)
    setting = _setting(uncoded, Workers(None, Expon(1.0, 0.5)), DRAWS, policy=policy)
    yield Case(
        "hedge at 1.3, c = 1, μ = 2", "c + 1/μ − e^(−μτ) / (2μ)",
        theory.hedged(1.0, 2.0, 1.3), setting, _mean,
    )  # fmt: skip
    yield Case(
        "its rate of hedges", "e^(−μ (τ−c))",
        theory.hedges(1.0, 2.0, 1.3), setting,
        lambda outcome: outcome.resent / outcome.queries,
    )  # fmt: skip


def _shares() -> Iterator[Case]:
    def not_by_1s(outcome: Outcome) -> float:
        return 1 - outcome.latency.share_within(0.99)

    def missing(outcome: Outcome) -> float:
        return outcome.missing_share

    slow = Bimodal(0.01, LATE_S, 0.01)
    many = _setting(codes.make("uncoded", k=100), Workers(None, slow), 100_000, timeout_s=1.0)
    yield Case(
        "fan-out: any of 100 slow, p = 0.01", "1 − (1 − p)^n",
        theory.one_slow_of_many(100, 0.01), many, not_by_1s, None,
    )  # fmt: skip
    for p, k, n in ((0.05, 2, 3), (0.05, 4, 5), (0.05, 8, 10), (0.05, 8, 12), (0.01, 8, 9)):
        setting = _k_of_n(Bimodal(0.01, LATE_S, p), k, n, timeout_s=1.0)
        yield Case(
            f"group not decodable, ({k}, {n}), p = {p:g}", "P(Bin(n, p) > n − k)",
            theory.not_decodable(n, k, p), setting, not_by_1s, None,
        )  # fmt: skip
        yield Case(
            f"a query slow, ({k}, {n}), p = {p:g}", "p P(Bin(n−1, p) ≥ n − k)",
            theory.query_slow(n, k, p), setting, missing, None,
        )  # fmt: skip


def _queues() -> Iterator[Case]:
    uncoded, pair = codes.make("uncoded", k=1), codes.make("uncoded", k=2)
    one = Expon(0.0, 1.0)
    yield Case(
        "M/M/4, λ = 3", "Erlang-C / (nμ − λ) + 1/μ", theory.mmn(4, 3.0, 1.0),
        _setting(
            uncoded, Workers(4, one, max_rows=1), JOBS, arrivals=Poisson(3.0), max_in_flight=4
        ),
        _mean, 0.03,
    )  # fmt: skip
    yield Case(
        "M/G/1, c = 0.5, μ = 2, λ = 0.6, wait", "λ E[S²] / (2 (1 − ρ))",
        theory.mg1_wait(0.6, 1.0, 1.25),
        _setting(uncoded, Workers(1, Expon(0.5, 0.5), max_rows=1), JOBS, arrivals=Poisson(0.6)),
        lambda outcome: outcome.latency.mean - 1.0, 0.03,
    )  # fmt: skip
    yield Case(
        "fork-join (2, 2), ρ = 0.7", "(12 − ρ) / (8 (μ − λ))", theory.fork_join_two(0.7, 1.0),
        _setting(pair, Workers(2, one, max_rows=1), JOBS, arrivals=Poisson(0.7)), _mean, 0.03,
    )  # fmt: skip
    yield Case(
        "fork-join (4, 4), ρ = 0.7, approximate", "Nelson–Tantawi",
        theory.fork_join_all(4, 0.7, 1.0),
        _setting(
            codes.make("uncoded", k=4), Workers(4, one, max_rows=1), JOBS, arrivals=Poisson(0.7)
        ),
        _mean, 0.05,
    )  # fmt: skip
    freed = Faults(delay=Injected(one, interruptible=True))
    yield Case(
        "fork-join (4, 1), λ = 2.5", "1 / (nμ − λ)", theory.fork_join_first(4, 2.5, 1.0),
        _setting(
            codes.make("replication", k=1, n=4), Workers(4, faults=freed, max_rows=1), JOBS // 4,
            arrivals=Poisson(2.5),
        ),
        _mean, 0.03,
    )  # fmt: skip
    three = _setting(
        codes.make("parity", k=3, n=5), Workers(5, faults=freed, max_rows=1), JOBS // 4,
        arrivals=Poisson(0.9), spread="random",
    )  # fmt: skip
    yield Case(
        "fork-join (5, 3), λ = 0.9", "E[X] + λ E[X²] / (2 (1 − λ E[X]))",
        theory.fork_join_upper(5, 3, 0.9, 1.0), three, _mean, 0.0, "at most",
    )  # fmt: skip
    yield Case(
        "the same", "Σ 1 / ((n − j) μ − λ)",
        theory.fork_join_lower(5, 3, 0.9, 1.0), three, _mean, 0.0, "at least",
    )  # fmt: skip
    yield Case(
        "redundancy-2 of 4, λ = 0.6 a server", "Σ 1 / (kμ C(k−1,d−1)/C(i−1,d−1) − kλ)",
        theory.redundancy(4, 2, 0.6, 1.0),
        _setting(
            codes.make("replication", k=1, n=2), Workers(4, faults=freed, max_rows=1), JOBS // 4,
            arrivals=Poisson(2.4), spread="random",
        ),
        _mean, 0.03,
    )  # fmt: skip
