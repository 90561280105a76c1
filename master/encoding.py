"""From the queries of a batch to what each slot is sent: stem and mix here, or at the workers.

Two designs of one system. "master": the queries stay here; the master runs the stem, mixes, and a
worker is sent one mix. "worker": every worker is sent the queries and its coefficients, and runs
the stem and mixes for itself. The weights are the same, and so are the answers, to rounding.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
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
        pad_scale: of random pads, where the code has any, in root mean squares of the queries.
    """

    code: Code
    stem: Stem | None = None
    at_workers: bool = False
    pad_scale: float = 1.0

    @property
    def is_slow(self) -> bool:
        """Whether it runs a network: milliseconds, not microseconds."""
        return self.code.slow or (self.stem is not None and not self.at_workers)

    def shards(self, queries: Tensor) -> Sequence[Shard]:
        """What each slot is sent, for g coding groups [g, q, *query]; pads are drawn afresh."""
        if not self.at_workers:
            pads = self._pads(queries) if self.code.pads else None
            return [(shard,) for shard in shards_of(self.code, queries, self.stem, pads)]
        own = {slot: j for j, slots in enumerate(self.code.own_slots) for slot in slots}
        queries = queries.contiguous()
        return [
            (queries, self._coefficients[slot].expand(len(queries), -1).contiguous())
            if is_coded(self.code, slot)
            else (queries[:, own[slot]].contiguous(),)
            for slot in range(self.code.n)
        ]

    def _pads(self, queries: Tensor) -> Tensor:
        """Such as nobody can know beforehand: their seed is the operating system's."""
        shape = (len(queries), self.code.pads, *queries.shape[2:])
        scale = self.pad_scale * (float(queries.square().mean().sqrt()) or 1.0)
        noise = np.random.default_rng(secrets.randbits(256)).standard_normal(shape, np.float32)
        return torch.from_numpy(noise * np.float32(scale))

    @cached_property
    def _coefficients(self) -> Tensor:
        code = self.code.code if isinstance(self.code, Calibrated) else self.code
        assert isinstance(code, LinearCode)  # others have no program that mixes
        return torch.tensor(code.generator, dtype=torch.float32)
