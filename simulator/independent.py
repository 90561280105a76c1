"""Groups of which none waits for another: drawn and decided by the array."""

import numpy as np

from simulator.answering import Array, Rule
from simulator.cluster import Progress
from simulator.draws import quantiles_s
from simulator.outcome import Outcome
from simulator.setting import Setting
from simulator.tasks import count, draw

TIMES_AT_ONCE = 1 << 20  # 8 MB an array


def simulate(setting: Setting, progress: Progress | None) -> Outcome:
    """All counted requests; nothing has to warm up."""
    outcome = Outcome("independent", None)
    rule = Rule(setting)
    rng = np.random.default_rng(setting.seed)
    most = max(1, TIMES_AT_ONCE // setting.code.n)
    left = setting.requests
    while left:
        size = min(left, most)
        _groups(size, setting, rule, rng, outcome)
        left -= size
        if progress is not None:
            progress(setting.requests - left, setting.requests)
    outcome.span_s = setting.requests / setting.arrivals.rate
    return outcome


def _groups(
    size: int, setting: Setting, rule: Rule, rng: np.random.Generator, outcome: Outcome
) -> None:
    shape = (size, setting.code.n)
    tasks = draw(setting, rng, size)
    first = tasks.lengths + _overhead(setting, rng, shape)
    if rule.hedge_s is None:
        answers = rule.answers(first)
        busy = tasks.busy(np.where(first <= answers.stops, np.inf, answers.stops))
        count(outcome, setting, answers, busy, np.ones(shape, bool))
        return
    again = rule.hedged(first)
    more = draw(setting, rng, size)
    second = rule.hedge_s + more.lengths + _overhead(setting, rng, shape)
    replies = np.where(again, np.minimum(first, second), first)
    answers = rule.answers(replies)
    stops = np.minimum(answers.stops, replies)  # one copy's reply cancels the other
    busy = tasks.busy(np.where(first <= stops, np.inf, stops))
    count(outcome, setting, answers, busy, np.ones(shape, bool))
    again &= answers.stops > rule.hedge_s
    busy = more.busy(np.where(second <= stops, np.inf, stops - rule.hedge_s))
    outcome.busy_s += float(busy[again].sum())
    hedges = setting.rows // setting.code.q * int(again.sum())
    outcome.sent += hedges
    outcome.resent += hedges
    outcome.served += hedges


def _overhead(setting: Setting, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return quantiles_s(setting.overhead, rng.random(shape))
