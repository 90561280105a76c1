"""From the queries of a batch to what each slot is sent: stem and mix here, or at the workers.

Two designs of one system. "master": the queries stay here; the master runs the stem, mixes, and a
worker is sent one mix. "worker": every worker is sent the queries and its coefficients, and runs
the stem and mixes for itself. The weights are the same, and so are the answers, to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from codes.base import Code
from codes.calibrated import Calibrated
from codes.linear import LinearCode
from codes.stages import Stem, is_coded, shards_of

Shard = tuple[Tensor, ...]  # the inputs of a slot's program, each [g, ...]


@dataclass(frozen=True)
class Encoder:
    """A code as a deployment encodes with it.

    Args:
        code: what is coded.
        stem: what queries go through before, if anything.
        at_workers: coded slots are sent queries and coefficients, not mixes.
    """

    code: Code
    stem: Stem | None = None
    at_workers: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether it runs a network: milliseconds, not microseconds."""
        return self.code.slow or (self.stem is not None and not self.at_workers)

    def shards(self, queries: Tensor, pads: Tensor | None = None) -> Sequence[Shard]:
        """What each slot is sent, for g coding groups [g, q, *query], with pads as `encode` has
        them."""
        if not self.at_workers:
            return [(shard,) for shard in shards_of(self.code, queries, self.stem, pads)]
        own = {slot: j for j, slots in enumerate(self.code.own_slots) for slot in slots}
        queries = queries.contiguous()
        return [
            (queries, self._coefficients[slot].expand(len(queries), -1).contiguous())
            if is_coded(self.code, slot)
            else (queries[:, own[slot]].contiguous(),)
            for slot in range(self.code.n)
        ]

    @cached_property
    def _coefficients(self) -> Tensor:
        code = self.code.code if isinstance(self.code, Calibrated) else self.code
        assert isinstance(code, LinearCode)  # others have no program that mixes
        return torch.tensor(code.generator, dtype=torch.float32)
