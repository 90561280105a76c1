"""How long a task takes on average under injected faults; closed forms. Pure."""

from math import exp, gamma

from bench.sweep.text import ContentionText
from worker import laws
from worker.faults_text import FaultsText


def mean_ms(faults: FaultsText | ContentionText) -> float | None:
    """Of the injected delay: 0 where there is none; None where the law has no mean, or moves."""
    if isinstance(faults, ContentionText):
        return None
    if faults.delay is None:
        return 0.0
    mean_s = _mean_s(faults.delay.law_s())
    return None if mean_s is None else 1e3 * faults.delay.probability * mean_s


def _mean_s(law: laws.Law | laws.Bursts) -> float | None:
    match law:
        case laws.Constant():
            return law.value_s
        case laws.Expon():
            return law.shift_s + law.scale_s
        case laws.Pareto():
            return law.shift_s + law.scale_s * law.b / (law.b - 1) if law.b > 1 else None
        case laws.WeibullMin():
            return law.shift_s + law.scale_s * gamma(1 + 1 / law.c)
        case laws.Lognorm():
            return law.shift_s + law.scale_s * exp(law.s**2 / 2)
        case laws.Bimodal():
            return law.fast_s + law.slow_probability * (law.slow_s - law.fast_s)
        case laws.Bursts():
            return law.fast_s + law.slow_share * (law.slow_s - law.fast_s)
        case laws.Trace():
            return sum(law.delays_s) / len(law.delays_s)
        case _:
            return None  # of scipy's many, some have none, and none is common here
