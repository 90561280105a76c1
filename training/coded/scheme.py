"""How one weight is spread over nodes, as coded training sees it; and by a PolyDot layer code.

Other schemes, of which comparisons are made, are in `bench/polydot`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codes.polydot import Decoded, Frame, Inaccurate, Layer, NotRecoverable, TooManyErrors
from codes.polydot.product import joined, mixed
from training.coded.nodes import Array, Inputs

SPARE = 1  # results beyond those that decode, so that wrong ones are noticed
UNDECODABLE = (NotRecoverable, Inaccurate, TooManyErrors)


@dataclass(frozen=True)
class Answer:
    """A product as it was decoded.

    Attributes:
        values: [rows, batch].
        liars: nodes whose part of it was wrong, and was left out.
        estimate: of the relative error.
    """

    values: Array
    liars: frozenset[int]
    estimate: float


class Scheme(ABC):
    """A weight [rows, columns] in blocks for `count` nodes.

    All that nodes do is linear, so that updates keep the blocks encoded. Methods that decode take
    the number of updates since the blocks were encoded, from which rounding noise follows, and
    raise one of `UNDECODABLE` where what came does not give what is wanted.
    """

    rows: int
    columns: int
    dtype: np.dtype[Any]

    @property
    @abstractmethod
    def count(self) -> int:
        """Of nodes."""

    @property
    @abstractmethod
    def block_shape(self) -> tuple[int, int]:
        """Of a node's block."""

    @abstractmethod
    def weight_share(self, weight: Array, node: int) -> Array:
        """A node's block of a weight."""

    @abstractmethod
    def forward_inputs(self, activation: Array, nodes: Collection[int]) -> dict[int, Array]:
        """What nodes multiply their blocks by, for activations [columns, batch]."""

    @abstractmethod
    def forward(self, results: Mapping[int, Array], steps: int) -> Answer:
        """The weight times the activations."""

    @abstractmethod
    def backward_inputs(self, signal: Array, nodes: Collection[int]) -> dict[int, Array]:
        """What nodes multiply their transposed blocks by, for signals [rows, batch]."""

    @abstractmethod
    def backward(self, results: Mapping[int, Array], steps: int) -> Answer:
        """The transposed weight times the signals."""

    @abstractmethod
    def update_inputs(
        self, activation: Array, signal: Array, nodes: Collection[int]
    ) -> dict[int, Inputs]:
        """What nodes update their blocks by."""

    @abstractmethod
    def wrong_inputs(self, projections: Mapping[int, Inputs]) -> frozenset[int]:
        """Nodes whose inputs of an update are not those that the others' say."""

    @abstractmethod
    def wrong_blocks(self, sketches: Mapping[int, Array], steps: int) -> frozenset[int]:
        """Nodes whose block is not the one that the others' say."""

    @abstractmethod
    def share(self, strips: Mapping[int, Array], node: int, steps: int) -> Array:
        """Rows of a node's block from the same rows of others'."""

    @abstractmethod
    def weight(self, strips: Sequence[Mapping[int, Array]], steps: int) -> Array:
        """The whole weight, from all rows of nodes' blocks in order."""

    def check(self, weight: Array) -> None:
        """Raises ValueError where a weight is not what this scheme is for."""
        if weight.shape != (self.rows, self.columns) or weight.dtype != self.dtype:
            raise ValueError(
                f"The weight must be {self.dtype} [{self.rows}, {self.columns}], "
                f"not {weight.dtype} {list(weight.shape)}."
            )
        if not np.isfinite(weight).all():
            raise ValueError("The weight has values that are not finite.")


@dataclass(frozen=True)
class PolyDotScheme(Scheme):
    """By Generalized PolyDot, as `codes.polydot.Layer` has it."""

    rows: int
    columns: int
    dtype: np.dtype[Any]
    layer: Layer

    @property
    def count(self) -> int:
        """Of nodes."""
        return self.layer.nodes

    @property
    def block_shape(self) -> tuple[int, int]:
        """See `Scheme`."""
        return -(-self.rows // self.layer.blocks_m), -(-self.columns // self.layer.blocks_n)

    def weight_share(self, weight: Array, node: int) -> Array:
        """See `Scheme`."""
        return self.layer.weight_share(self.layer.split_weight(weight), node)

    def forward_inputs(self, activation: Array, nodes: Collection[int]) -> dict[int, Array]:
        """See `Scheme`."""
        blocks = self.layer.split_x(activation)
        return {node: self.layer.forward_input(blocks, node) for node in nodes}

    def forward(self, results: Mapping[int, Array], steps: int) -> Answer:
        """See `Scheme`."""
        found = self._decoded(self.layer.forward_frame, results, steps)
        whole = self.layer.joined_out(found.values, self.rows)
        return Answer(whole, frozenset(found.liars), found.estimate)

    def backward_inputs(self, signal: Array, nodes: Collection[int]) -> dict[int, Array]:
        """See `Scheme`."""
        blocks = self.layer.split_d(signal)
        return {node: self.layer.backward_input(blocks, node) for node in nodes}

    def backward(self, results: Mapping[int, Array], steps: int) -> Answer:
        """See `Scheme`."""
        found = self._decoded(self.layer.backward_frame, results, steps)
        whole = self.layer.joined_in(found.values, self.columns)
        return Answer(whole, frozenset(found.liars), found.estimate)

    def update_inputs(
        self, activation: Array, signal: Array, nodes: Collection[int]
    ) -> dict[int, Inputs]:
        """See `Scheme`."""
        x, d = self.layer.split_x(activation), self.layer.split_d(signal)
        return {node: Inputs(*self.layer.update_inputs(x, d, node)) for node in nodes}

    def wrong_inputs(self, projections: Mapping[int, Inputs]) -> frozenset[int]:
        """See `Scheme`."""
        activations = {node: value.activation for node, value in projections.items()}
        signals = {node: value.signal for node, value in projections.items()}
        wrong_activations = self._located(self.layer.x_update_frame, activations, 0)
        return wrong_activations | self._located(self.layer.d_update_frame, signals, 0)

    def wrong_blocks(self, sketches: Mapping[int, Array], steps: int) -> frozenset[int]:
        """See `Scheme`."""
        return self._located(self.layer.state_frame, sketches, steps)

    def share(self, strips: Mapping[int, Array], node: int, steps: int) -> Array:
        """See `Scheme`."""
        others = {other: strip for other, strip in strips.items() if other != node}
        found = self._decoded(self.layer.state_frame, others, steps)
        return mixed(self.layer.mixings.weight[node], found.values)

    def weight(self, strips: Sequence[Mapping[int, Array]], steps: int) -> Array:
        """See `Scheme`."""
        frame = self.layer.state_frame
        values = [self._decoded(frame, strip, steps).values for strip in strips]
        blocks = np.concatenate(values, axis=1)
        grid = self.layer.blocks_m, self.layer.blocks_n
        return joined(blocks, *grid, (self.rows, self.columns))

    def _decoded(self, frame: Frame, results: Mapping[int, Array], steps: int) -> Decoded:
        sigma = noise(frame, results, steps, self.dtype)
        return frame.decode(results, sigma, spare=SPARE)

    def _located(self, frame: Frame, results: Mapping[int, Array], steps: int) -> frozenset[int]:
        sigma = noise(frame, results, steps, self.dtype)
        return frozenset(frame.locate(results, sigma, spare=SPARE))


def polydot(
    rows: int, columns: int, dtype: Any, nodes: int, blocks_m: int, blocks_n: int = 1
) -> PolyDotScheme:
    """A weight of this shape in blocks_m x blocks_n blocks, for so many nodes.

    Raises:
        ValueError: more nodes are needed, or dtype is neither float32 nor float64.
    """
    layer = Layer(blocks_m, blocks_n, nodes)
    needed = layer.node_threshold + SPARE
    if nodes < needed:
        raise ValueError(
            f"{blocks_m} x {blocks_n} blocks need {needed} nodes, one to check the others by, "
            f"not {nodes}."
        )
    return PolyDotScheme(rows, columns, np.dtype(dtype), layer)


def spread(
    nodes: int, blocks_m: int, blocks_n: int = 1
) -> Callable[[int, int, np.dtype[Any]], PolyDotScheme]:
    """Gives `polydot` schemes for weights of any shape and dtype."""
    return lambda rows, columns, dtype: polydot(rows, columns, dtype, nodes, blocks_m, blocks_n)


def noise(frame: Frame, results: Mapping[int, Array], steps: int, dtype: np.dtype[Any]) -> float:
    """Rounding noise of an entry of nodes' results, computed in `dtype`, after so many updates.

    Every node rounds on its own, so that blocks drift off the code: the residual was measured as
    0.19 sqrt(steps) epsilons over 5,000 steps, the same for all types and families. The size of
    results is that of the smallest that decode: the others may all be wrong, and then are larger.

    Raises:
        NotRecoverable: there are no results at all.
    """
    if not results:
        raise NotRecoverable((), range(len(frame.extraction)), frame.node_threshold)
    with np.errstate(all="ignore"):  # wrong results overflow
        sizes = np.sort([np.sqrt(np.mean(np.abs(values) ** 2)) for values in results.values()])
    size = float(sizes[min(frame.node_threshold, len(sizes)) - 1])
    size = size if np.isfinite(size) else 0.0
    return float(np.finfo(dtype).eps) * (4 + 0.5 * float(np.sqrt(steps))) * size
