"""What nodes without a master agree on before they begin, and what each tells at the end."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.coded.network import Network
from training.coded.nodes import Array, Inputs, Part, Rule
from training.coded.peers import Factors
from training.coded.run import CodedRecipe, batch_of
from training.coded.scheme import SPARE, PolyDotScheme


@dataclass(frozen=True)
class Plan:
    """What all nodes agree on.

    Attributes:
        network: its shape.
        recipe: how it is trained; a checkpoint is a copy of each node's own blocks.
        schemes: how each weight is encoded.
        images: [n, in]; labels: [n].
        scrub_every: steps between comparisons of blocks; divides the checkpoints' distance.
    """

    network: Network
    recipe: CodedRecipe
    schemes: tuple[PolyDotScheme, ...]
    images: Array
    labels: Array
    scrub_every: int = 5

    def __post_init__(self) -> None:
        if self.recipe.checkpoint_every % self.scrub_every:
            raise ValueError(
                f"Argument 'scrub_every' must divide checkpoint_every = "
                f"{self.recipe.checkpoint_every}, which {self.scrub_every} does not."
            )

    @property
    def count(self) -> int:
        """Of nodes."""
        return self.schemes[0].count

    @property
    def needed(self) -> int:
        """Nodes that give whatever is asked for, one of them to check the others by."""
        return max(scheme.layer.node_threshold for scheme in self.schemes) + SPARE

    @property
    def rule(self) -> Rule:
        """Of every step."""
        return Rule(self.recipe.lr, self.recipe.momentum, self.recipe.weight_decay)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Of a block."""
        return ("weight", "velocity") if self.recipe.momentum else ("weight",)

    def batch(self, step: int) -> tuple[Array, Array]:
        """Images and labels of a step, from 1."""
        size, seed = self.recipe.batch_size, self.recipe.seed
        chosen = batch_of(step - 1, size, len(self.images), seed).numpy()
        return self.images[chosen], self.labels[chosen]

    def wrong_inputs(self, projected: Mapping[int, Array]) -> frozenset[int]:
        """Nodes whose inputs of an update, `stacked`, do not fit the others'; raises as schemes."""
        wrong: frozenset[int] = frozenset()
        for layer, scheme in enumerate(self.schemes):
            own = slice(2 * layer, 2 * layer + 1), slice(2 * layer + 1, 2 * layer + 2)
            wrong |= scheme.wrong_inputs(
                {node: Inputs(rows[own[0]], rows[own[1]]) for node, rows in projected.items()}
            )
        return wrong

    def clipped(self, factors: list[Factors]) -> list[Factors]:
        """All factors, scaled to the largest norm that gradients may have together."""
        if not self.recipe.clip:
            return factors
        squares = [
            float(((one.signal.T @ one.signal) * (one.activation.T @ one.activation)).sum())
            for one in factors
        ]
        scale = min(1.0, self.recipe.clip / (float(np.sqrt(sum(squares))) + 1e-6))
        return [
            Factors(one.activation, (one.signal * scale).astype(one.signal.dtype))
            for one in factors
        ]


@dataclass
class NodeReport:
    """What has happened at a node.

    Attributes:
        located: wrong results of others, found and left out.
        retries: results asked for again.
        redone: steps gone through again, as the others found this node's inputs wrong.
        restored: times that blocks were made anew from its own copy.
        rebuilt: times that they were made anew from the others'.
        replayed: steps that it had missed.
    """

    located: int = 0
    retries: int = 0
    redone: int = 0
    restored: int = 0
    rebuilt: int = 0
    replayed: int = 0


def stacked(projected: list[Inputs]) -> Array:
    """Projections of all layers, [2 layers, rows times batch], as they travel."""
    both = [side for one in projected for side in (one.activation, one.signal)]
    return np.concatenate([side.reshape(1, -1) for side in both])
