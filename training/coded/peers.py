"""What nodes without a master ask of each other; the wire is elsewhere, or nowhere in a test."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from training.coded.nodes import Array, Part

Phase = Literal["forward", "backward", "verify", "scrub"]


class Gone(RuntimeError):
    """The peer has gone on: what was asked for is no longer there."""


@dataclass(frozen=True)
class Key:
    """A moment of the training, the same on every node.

    Attributes:
        step: that is being done, from 1.
        phase: of the step.
        layer: of the network.
        part: of what is scrubbed.
    """

    step: int
    phase: Phase
    layer: int = 0
    part: Part = "weight"


@dataclass(frozen=True)
class Standing:
    """Where a peer is.

    Attributes:
        step: done.
        checkpoints: steps of its copies.
        oldest: step that it can replay at the least.
    """

    step: int
    checkpoints: tuple[int, ...]
    oldest: int


@dataclass(frozen=True)
class Factors:
    """Of a layer's gradient, decoded: what a node that missed a step makes its own inputs from.

    Attributes:
        activation: [in, batch].
        signal: [out, batch], clipped.
    """

    activation: Array
    signal: Array


class Peers(Protocol):
    """All other nodes, by number. Methods raise `Gone`, or OSError for a peer that is lost."""

    async def result(self, peer: int, key: Key, attempt: int) -> Array:
        """A peer's share of what all nodes need at this moment; waits until it has come there.

        Args:
            attempt: 0, or higher to have it computed anew.
        """

    async def standing(self, peer: int) -> Standing:
        """Where a peer is; the first time, it may be waited for."""

    async def factors(self, peer: int, step: int) -> list[Factors]:
        """Of every layer's gradient in a step that the peer has done."""

    def strips(self, peer: int, layer: int, part: Part, checkpoint: int) -> AsyncIterator[Array]:
        """A peer's copy of its block, a few rows at a time."""
