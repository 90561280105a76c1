"""What a node without a master holds: its blocks, copies of them, and the steps since.

A block that went wrong is made anew from the copy and the steps, whose inputs were verified before
they were used. Knows no peers; decides nothing. `apply` and `restore` compute, and may be run off
the event loop, one at a time; all else is quick.
"""

from dataclasses import dataclass

import numpy as np

from training.coded.block import Block, Staged, strip_rows
from training.coded.network import Touch
from training.coded.nodes import Array, Inputs, Part
from training.coded.peer_plan import Plan
from training.coded.peers import Factors, Gone, Standing

COPIES = 2  # the newest, and one for those who are a checkpoint behind


@dataclass(frozen=True)
class Done:
    """A step as it is kept, for this node and for others that missed it.

    Attributes:
        factors: of all gradients.
        inputs: this node's own share of them.
    """

    factors: list[Factors]
    inputs: list[Inputs]


class NodeState:
    """Blocks of one node.

    Args:
        number: of the node.
        plan: that all share; weights are drawn by its seed.
        wrong: makes a block wrong now and then, when it was updated.

    Attributes:
        step: done.
        blocks: one a layer, at that step.
    """

    def __init__(self, number: int, plan: Plan, wrong: Touch) -> None:
        self.step = 0
        self._plan, self._wrong = plan, wrong
        weights = plan.network.weights(plan.recipe.seed)
        pairs = zip(plan.schemes, weights, strict=True)
        self.blocks = [Block(scheme.weight_share(weight, number)) for scheme, weight in pairs]
        self._copies = {0: self._copy()}
        self._done: dict[int, Done] = {}

    def apply(self, step: int, done: Done) -> None:
        """Do the next step to the blocks; `commit` is to follow."""
        for block, inputs in zip(self.blocks, done.inputs, strict=True):
            with np.errstate(all="ignore"):
                block.stage(Staged(step, inputs, self._plan.rule))
                block.commit(step)
                block.weight = self._wrong(block.weight)

    def commit(self, step: int, done: Done) -> None:
        """Keep what a step was done by."""
        self._done[step] = done
        self.step = step

    def checkpoint(self) -> None:
        """Copy the blocks, and forget the steps before the older copy."""
        self._copies[self.step] = self._copy()
        while len(self._copies) > COPIES:
            del self._copies[min(self._copies)]
        oldest = min(self._copies)
        self._done = {step: done for step, done in self._done.items() if step > oldest}

    def restore(self) -> None:
        """All blocks from the newest copy, and the steps since."""
        copy = max(self._copies)
        self._take(self._copies[copy])
        for step in range(copy + 1, self.step + 1):
            self.apply(step, self._done[step])

    def replace(self, step: int, blocks: list[Block]) -> None:
        """Take blocks that others gave, as of a checkpoint; nothing is known of steps since."""
        self._copies, self._done, self.step = {step: blocks}, {}, step
        self._take(blocks)

    def standing(self) -> Standing:
        """Where this node is."""
        return Standing(self.step, tuple(self._copies), min(self._done, default=self.step + 1))

    def factors(self, step: int) -> list[Factors]:
        """Of every layer's gradient in a step that is done. Raises Gone."""
        if step not in self._done:
            raise Gone
        return self._done[step].factors

    def strips(self, layer: int, part: Part, checkpoint: int) -> list[Array]:
        """A copy of a block, a few rows each. Raises Gone."""
        if checkpoint not in self._copies:
            raise Gone
        copy = self._copies[checkpoint][layer].part(part)
        rows = strip_rows(copy)
        return [copy[start : start + rows] for start in range(0, len(copy), rows)]

    def _copy(self) -> list[Block]:
        # Updates make new arrays: to hold the old ones is a copy.
        return [Block(block.weight, block.velocity, block.version) for block in self.blocks]

    def _take(self, copy: list[Block]) -> None:
        for block, kept in zip(self.blocks, copy, strict=True):
            block.replace(kept.weight, kept.version)
            block.velocity = kept.velocity
