"""What every coded batch of a deployment has in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codes.base import Code
from codes.ensemble import Ensemble
from master.adaptive import Adaptive
from master.encoding import Encoder
from master.gains import Gains
from master.policy import Moments, Policy
from master.statistics import Statistics

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from master.layers.network import Network
    from master.layers.shares import Shares


@dataclass(frozen=True)
class Layers:
    """A model in layers, and their coded weights at the workers."""

    network: "Network"
    shares: "Shares"


@dataclass(frozen=True)
class Coding:
    """Code, programs and counters of a deployment."""

    name: str
    code: Code  # whose answers are asked; of several models, their mean is a further one
    encoder: Encoder
    programs: Mapping[str, str]  # role -> content hash
    answer_shape: tuple[int, ...]
    statistics: Statistics
    gains: Gains  # of the code, shared by all batches: its cache is per set of responders
    adaptive: Adaptive  # learns from all batches, and decides for those that ask for it
    tracer: "Tracer | None" = None  # None: no spans
    layers: "Layers | None" = None  # of a model whose linear layers are coded one by one

    def moments(self, policy: Policy, now: float, queue: float) -> Moments:
        """Of a batch that starts at monotonic second `now`; `queue`: tasks a worker has already."""
        if policy.wait == "adaptive":
            patience_s = policy.soft_deadline.at(self.statistics.slot_latency)
            return self.adaptive.moments(now, patience_s, queue)
        return policy.moments(self.statistics.slot_latency, now)

    @property
    def bound(self) -> Code:
        """The deployment's code, which sends and judges."""
        return self.code.code if isinstance(self.code, Ensemble) else self.code
