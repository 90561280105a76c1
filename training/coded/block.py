"""One node's block of one weight: products, updates in two phases, a copy to go back to.

What a node does in coded training, whoever asks it; knows nothing of the code, of other nodes or
of faults. Not safe for two threads.
"""

from dataclasses import dataclass

import numpy as np

from training.coded.nodes import Array, Inputs, Part, Rule, sketch_matrix

STRIP_BYTES = 2**20  # of a block, about, that travel at once


@dataclass(frozen=True)
class Staged:
    """An update that is not done yet.

    Attributes:
        step: the version that it leads to.
        inputs, rule: of it.
    """

    step: int
    inputs: Inputs
    rule: Rule


class Block:
    """A coded block [rows, columns] and, from the first step with momentum on, its velocity.

    Attributes:
        weight: the block.
        velocity: of the same shape; None is all zero.
        version: how many updates both have seen.
    """

    def __init__(self, weight: Array, velocity: Array | None = None, version: int = 0) -> None:
        self.weight = weight
        self.velocity = velocity
        self.version = version
        self._staged: Staged | None = None
        self._kept: tuple[Array, Array | None, int] | None = None

    def multiply(self, values: Array, *, transpose: bool) -> Array:
        """The block, or its transpose, times values [columns or rows, batch]."""
        product: Array = (self.weight.T if transpose else self.weight) @ values
        return product

    def stage(self, staged: Staged) -> bool:
        """Take an update in hand, in place of another; False where it is not this block's next."""
        if staged.step != self.version + 1:
            return False
        self._staged = staged
        return True

    def commit(self, step: int) -> bool:
        """Do the update in hand; False where it is another, or is done already."""
        staged = self._staged
        if staged is None or staged.step != step:
            return False
        self._staged = None
        rule, inputs = staged.rule, staged.inputs
        change = inputs.signal @ inputs.activation.T
        if rule.weight_decay:
            change += rule.weight_decay * self.weight
        if rule.momentum:
            if self.velocity is not None:
                change += rule.momentum * self.velocity
            self.velocity = change
        self.weight = self.weight - rule.lr * change
        self.version = step
        return True

    def replace(self, weight: Array, version: int) -> None:
        """Take another block, with no velocity yet; the copy to go back to stays."""
        self.weight, self.velocity, self.version = weight, None, version
        self._staged = None

    def part(self, part: Part) -> Array:
        """The weight, or the velocity."""
        if part == "weight":
            return self.weight
        return np.zeros_like(self.weight) if self.velocity is None else self.velocity

    def sketch(self, part: Part, seed: int, columns: int) -> Array:
        """The weight or velocity times the Gaussian matrix of this seed."""
        values = self.part(part)
        matrix = sketch_matrix(seed, values.shape[1], columns)
        product: Array = values @ matrix.astype(values.real.dtype)
        return product

    def keep(self) -> None:
        """Keep a copy to go back to, in place of the one before."""
        # Every update makes new arrays, so that holding the old ones is a copy.
        self._kept = self.weight, self.velocity, self.version

    def restore(self, version: int) -> None:
        """Go back to the copy; nothing happens where there is none of this version."""
        if self._kept is not None and self._kept[2] == version:
            self.weight, self.velocity, self.version = self._kept
            self._staged = None


def strip_rows(block: Array) -> int:
    """How many rows of a block travel at once."""
    row_bytes: int = block.shape[1] * block.itemsize
    return max(1, STRIP_BYTES // row_bytes)
