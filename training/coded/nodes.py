"""What coded training asks of the nodes that hold coded blocks, and nothing else about them.

A node holds one coded block of each weight, in `float32`, `float64` or their complex kin; with
momentum also a coded velocity of the same shape. Both have a version: how many updates they have
seen. A node that is dead, late or at another version is simply absent from a reply.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Part = Literal["weight", "velocity"]
EMPTY = -1  # version of a block that is not there


@dataclass(frozen=True)
class Rule:
    """How a step changes a weight, as `torch.optim.SGD` does; linear, hence the same on blocks.

    velocity <- momentum velocity + gradient + weight_decay weight; weight <- weight - lr velocity.

    Attributes:
        lr: of this step.
        momentum: 0 keeps no velocity.
        weight_decay: of the weight as it was before the step.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """What a node needs for an update: its gradient is `signal @ activation.T`.

    Attributes:
        activation: coded inputs of the layer, [columns of the block, batch].
        signal: coded gradients of its outputs, [rows of the block, batch].
    """

    activation: Array
    signal: Array

    def projected(self, seed: int, columns: int) -> "Inputs":
        """Both as `columns` random sums of their rows: codewords as they are, and much smaller."""
        return Inputs(
            _projections(seed, columns, self.activation), _projections(seed, columns, self.signal)
        )


def _projections(seed: int, columns: int, values: Array) -> Array:
    return sketch_matrix(seed, len(values), columns).T.astype(values.dtype) @ values


@lru_cache(maxsize=16)  # every node of this process asks for the same ones
def sketch_matrix(seed: int, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """The Gaussian matrix [rows, columns] of this seed: the same one on every node."""
    noise = np.random.Generator(np.random.Philox(key=seed))
    return np.asarray(noise.standard_normal((rows, columns)) / np.sqrt(rows))


class Nodes(Protocol):
    """Nodes 0..count-1, in the order of the code's points; none of their failures is raised."""

    @property
    def count(self) -> int:
        """How many there are, dead ones counted."""

    def fill(
        self, name: str, version: int, node: int, part: Part, rows: int, strips: Iterable[Array]
    ) -> None:
        """Give a node a block of so many rows, some of them at a time, in place of what it holds.

        The weight comes first, and the velocity is zero after it.
        """

    def multiply(
        self, name: str, version: int, inputs: Mapping[int, Array], *, transpose: bool
    ) -> Iterator[Mapping[int, Array]]:
        """Blocks, or their transposes, times inputs.

        Yields:
            Products by node, each node once, as soon as it makes sense to try decoding.
        """

    def stage(
        self, name: str, step: int, inputs: Mapping[int, Inputs], rule: Rule, projections: int
    ) -> Mapping[int, Inputs]:
        """Hand out an update and have it checked, but not done.

        Args:
            step: the version that it leads to; blocks must be at the one before.

        Returns:
            Of nodes that hold it now, `Inputs.projected(step, projections)` of what they hold.
        """

    def commit(self, name: str, step: int, nodes: Collection[int]) -> None:
        """Have staged updates done; one that is done already is not done again."""

    def sketch(
        self, name: str, version: int, part: Part, seed: int, columns: int
    ) -> Mapping[int, Array]:
        """Blocks times `sketch_matrix(seed, columns of the block, columns)`."""

    def versions(self, name: str) -> Mapping[int, int]:
        """Of nodes that answer; EMPTY of those that hold no such block."""

    def strips(
        self, name: str, version: int, part: Part, nodes: Collection[int]
    ) -> Iterator[Mapping[int, Array]]:
        """The blocks of some nodes, in step: so many rows of all of them, then the next."""

    def keep(self, name: str, version: int) -> None:
        """Have every node that is at this version keep a copy of its block: a checkpoint."""

    def restore(self, name: str, version: int) -> None:
        """Have every node that kept a copy at this version go back to it."""
