"""Chooses how a setting is simulated, and does it."""

from time import perf_counter
from typing import Literal

from simulator.cluster import Cluster, Progress
from simulator.outcome import Outcome
from simulator.setting import Setting

Method = Literal["auto", "events"]


def simulate(
    setting: Setting, method: Method = "auto", progress: Progress | None = None
) -> Outcome:
    """Run a setting in virtual time."""
    began = perf_counter()
    outcome = Cluster(setting, progress).run()
    outcome.wall_s = perf_counter() - began
    return outcome


def method_of(setting: Setting) -> str:
    """How `simulate` would do it."""
    return "events"
