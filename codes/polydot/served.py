"""The code by which a deployment's linear layers are served: one layer of it, as a `Code`.

Every slot holds one mix of the layer's blocks of rows, and multiplies queries by it; queries are
not mixed. A network is one such code after the other; who runs the rest of it is elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from codes.base import Code, Vector
from codes.polydot.layer import Layer

NAME = "polydot"


@final
@dataclass(frozen=True)
class LinearLayers(Code):
    """PolyDot over the linear layers of a model, whose weights lie coded at the workers.

    Group: 1 query. Roles: all "base": a mix of m blocks of a layer's rows. Threshold: m.
    Encode: none: every slot gets the query. Slot: W~ x. Decode: least squares over all that came.
    Cost: a slot computes and holds 1/m of each layer.
    Source: [dutta2018], the family circle with n = 1.

    Args:
        m: blocks of a layer's outputs; any m results decode.
        n: slots, at least 2 m - 1.
    """

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = "each linear layer as a coded product; wrong ones are located"
    source: ClassVar[str] = "dutta2018"
    exact: ClassVar[bool] = True

    m: int
    n: int
    k: int = field(default=1, init=False, repr=False)

    def __post_init__(self) -> None:
        _ = self.layer  # its checks

    @cached_property
    def layer(self) -> Layer:
        """Of each linear layer."""
        return Layer(self.m, 1, nodes=self.n)

    @property
    def recovery_threshold(self) -> int:
        """See `Code`."""
        return self.m

    @property
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """See `Code`: no slot has a whole answer."""
        return ((),)

    def _encode(self, queries: Tensor) -> list[Tensor]:
        return [queries[:, 0].contiguous()] * self.n

    def _gain(self, slots: tuple[int, ...]) -> Vector:
        return np.array([self.layer.forward_frame.gain(slots)])

    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor:
        by_slot = {slot: one.numpy() for slot, one in zip(slots, results, strict=True)}
        blocks = self.layer.forward_frame.decode(by_slot).values
        answer = torch.from_numpy(np.concatenate(list(blocks), axis=1))
        return answer[:, None].expand(-1, len(answers), -1)
