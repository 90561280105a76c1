"""What every coded batch of a deployment has in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codes.base import Code
from master.encoding import Encoder
from master.gains import Gains
from master.statistics import Statistics

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


@dataclass(frozen=True)
class Coding:
    """Code, programs and counters of a deployment."""

    name: str
    code: Code
    encoder: Encoder
    programs: Mapping[str, str]  # role -> content hash
    answer_shape: tuple[int, ...]
    statistics: Statistics
    gains: Gains  # of the code, shared by all batches: its cache is per set of responders
    tracer: "Tracer | None" = None  # None: no spans
