"""Closed forms that a simulator must give again: order statistics, hedging and queues.

n slots, k of them needed; service rates mu and arrival rates `rate`; `load` is a server's share of
busy time. Means, unless a name says otherwise. Sources in brackets.
"""

from math import comb, exp, factorial, gamma, pow
from typing import Any

from scipy import special


def harmonic(n: int, power: int = 1) -> float:
    """The sum of 1 / i^power for i up to n."""
    return sum(float(i) ** -power for i in range(1, n + 1))


# The k-th of n, nothing queues.


def shifted_exponential(n: int, k: int, shift_s: float, mu: float) -> float:
    """Mean of the k-th of n. (Lee et al. 2018)"""
    return shift_s + (harmonic(n) - harmonic(n - k)) / mu


def shifted_exponential_variance(n: int, k: int, mu: float) -> float:
    """Variance of the k-th of n."""
    return (harmonic(n, 2) - harmonic(n - k, 2)) / mu**2


def pareto(n: int, k: int, scale_s: float, index: float) -> float:
    """Mean of the k-th of n of P(T > t) = (scale / t)^index."""
    logs = special.gammaln([n + 1, n - k + 1 - 1 / index, n - k + 1, n + 1 - 1 / index])
    return float(scale_s * exp(logs[0] + logs[1] - logs[2] - logs[3]))


def weibull(n: int, k: int, scale_s: float, shape: float) -> float:
    """Mean of the k-th of n of P(T > t) = exp(-(t / scale)^shape)."""
    mean_s = scale_s * gamma(1 + 1 / shape)
    first = n - k + 1
    signed = (
        (-1 if (j - first) % 2 else 1) * comb(j - 1, n - k) * comb(n, j) * pow(j, -1 / shape)
        for j in range(first, n + 1)
    )
    return mean_s * sum(signed)


def bimodal(n: int, k: int, fast_s: float, slow_s: float, slow_probability: float) -> float:
    """Mean of the k-th of n."""
    fast = at_least(n, k, 1 - slow_probability)
    return fast_s * fast + slow_s * (1 - fast)


def at_least(n: int, k: int, probability: float) -> float:
    """That k or more of n happen: of a deadline, all k answers are there."""
    return sum(comb(n, j) * probability**j * (1 - probability) ** (n - j) for j in range(k, n + 1))


def split_job(n: int, k: int, mu: float) -> float:
    """A job split in k parts and coded into n: a k-th of shift 1 and 1 / mu. (Lee et al.)"""
    return shifted_exponential(n, k, 1.0, mu) / k


def hedged(shift_s: float, mu: float, after_s: float) -> float:
    """Mean of a shifted exponential that is sent once more after a delay of at least the shift."""
    return shift_s + 1 / mu - exp(-mu * after_s) / (2 * mu)


def hedges(shift_s: float, mu: float, after_s: float) -> float:
    """Share of the calls that are sent once more."""
    return exp(-mu * max(0.0, after_s - shift_s))


def one_slow_of_many(n: int, probability: float) -> float:
    """That any of n is slow. (Dean and Barroso 2013)"""
    return 1 - (1 - probability) ** n


def not_decodable(n: int, k: int, slow: float) -> float:
    """That more than n - k slots of a group are slow."""
    return 1 - at_least(n, k, 1 - slow)


def query_slow(n: int, k: int, slow: float) -> float:
    """That a query's own slot is slow, and too many others to decode it."""
    return slow * at_least(n - 1, n - k, slow)


# Queues, Poisson arrivals.


def mmn(n: int, rate: float, mu: float) -> float:
    """Time in an M/M/n system, by Erlang's C."""
    offered = rate / mu
    load = offered / n
    last = offered**n / factorial(n) / (1 - load)
    waits = last / (sum(offered**i / factorial(i) for i in range(n)) + last)
    return waits / (n * mu - rate) + 1 / mu


def mg1_wait(rate: float, mean_s: float, second_moment: float) -> float:
    """Wait before service in an M/G/1 queue. (Pollaczek and Khinchine)"""
    return rate * second_moment / (2 * (1 - rate * mean_s))


def fork_join_two(rate: float, mu: float) -> float:
    """Time of a job that needs both of two servers. (Flatto and Hahn 1984)"""
    return (12 - rate / mu) / (8 * (mu - rate))


def fork_join_all(n: int, rate: float, mu: float) -> float:
    """Time of a job that needs all of n servers, within 5 %. (Nelson and Tantawi 1988)"""
    ratio = harmonic(n) / harmonic(2)
    return (ratio + 4 / 11 * (1 - ratio) * rate / mu) * fork_join_two(rate, mu)


def fork_join_first(n: int, rate: float, mu: float) -> float:
    """Time of a job that needs any one of n servers and frees the others."""
    return 1 / (n * mu - rate)


def fork_join_upper(n: int, k: int, rate: float, mu: float) -> float:
    """No job takes longer that needs k of n servers: as if each waited for the last.

    (Joshi et al. 2014.) Needs rate * E[X] < 1, X the k-th of n services.
    """
    mean = shifted_exponential(n, k, 0.0, mu)
    second = shifted_exponential_variance(n, k, mu) + mean**2
    return mean + mg1_wait(rate, mean, second)


def fork_join_lower(n: int, k: int, rate: float, mu: float) -> float:
    """No job is quicker that needs k of n servers: one stage a result. (Joshi et al. 2014)"""
    return sum(1 / ((n - j) * mu - rate) for j in range(k))


def redundancy(servers: int, d: int, rate: float, mu: float) -> float:
    """Time of a job with copies at d of the servers, the first counts. (Gardner et al. 2017)

    Args:
        rate: arrivals for each server.
    """
    total: Any = 0.0
    for i in range(d, servers + 1):
        share = comb(servers - 1, d - 1) / comb(i - 1, d - 1)
        total += 1 / (servers * mu * share - servers * rate)
    return float(total)
