"""Chooses how a setting is simulated, and does it."""

from time import perf_counter
from typing import Literal

from simulator import independent, recursion
from simulator.cluster import Cluster, Progress
from simulator.methods import why_not_independent, why_not_recursion
from simulator.outcome import Outcome
from simulator.setting import Setting

Method = Literal["auto", "events", "recursion", "independent"]


def simulate(
    setting: Setting, method: Method = "auto", progress: Progress | None = None
) -> Outcome:
    """Run a setting in virtual time.

    Args:
        setting: everything of the run.
        method: "auto" takes the quickest that fits; the outcome says which.
        progress: told now and then how many requests are done, and of how many.

    Raises:
        ValueError: the method does not fit the setting; says why.
    """
    if method == "auto":
        method = method_of(setting)
    began = perf_counter()
    match method:
        case "independent":
            _check(method, why_not_independent(setting))
            outcome = independent.simulate(setting, progress)
        case "recursion":
            _check(method, why_not_recursion(setting))
            outcome = recursion.simulate(setting, progress)
        case _:
            outcome = Cluster(setting, progress).run()
    outcome.wall_s = perf_counter() - began
    return outcome


def method_of(setting: Setting) -> Method:
    """The quickest method that fits."""
    if not why_not_independent(setting):
        return "independent"
    return "events" if why_not_recursion(setting) else "recursion"


def _check(method: str, reason: str) -> None:
    if reason:
        raise ValueError(f"Argument 'method' must not be {method!r} for this setting: {reason}.")
