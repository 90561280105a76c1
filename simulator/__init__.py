"""The cluster in virtual time: the master's own decisions over drawn delays, and no waiting.

`simulate(Setting(...))` gives an `Outcome`: latency, how many answers were direct, decoded or
missing, and what it cost. Nothing here computes an answer; what a decoded one is worth is told by
its gain.
"""

from simulator.outcome import Histogram, Outcome
from simulator.run import Method, method_of, simulate
from simulator.setting import Contention, Poisson, Setting, Times, Workers

__all__ = [
    "Contention",
    "Histogram",
    "Method",
    "Outcome",
    "Poisson",
    "Setting",
    "Times",
    "Workers",
    "method_of",
    "simulate",
]
