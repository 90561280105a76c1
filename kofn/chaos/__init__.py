"""Does harm to running workers from outside: stops, kills, cuts off, starves.

Faults that a worker injects into its own work are the master's to set (`kofn faults`); what stands
here acts on processes and containers, which need not know.
"""

from kofn.chaos.chaos import KINDS, Chaos
from kofn.chaos.containers import Containers
from kofn.chaos.finding import find
from kofn.chaos.processes import Processes

__all__ = ["KINDS", "Chaos", "Containers", "Processes", "find"]
