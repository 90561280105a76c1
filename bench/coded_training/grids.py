"""Weights in a plain grid of blocks: bare, in copies, or with an MDS code over rows and columns.

What Generalized PolyDot codes are compared with. Every node has one block, or a mix of the blocks
of one grid row or column; a pass is decoded word by word, each word a set of nodes whose results
are values of one small code.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from codes.interpolation import first
from codes.polydot import Frame, NotRecoverable
from training.coded.nodes import Array, Inputs
from training.coded.scheme import Answer, Scheme, noise


@dataclass(frozen=True, eq=False)
class Word:
    """Nodes whose results are a codeword.

    Attributes:
        nodes: in the order of the frame's rows.
        frame: their code; None where each has a value of its own, and nothing tells wrong ones.
        blocks: of the pass's outcome, that the decoded values are added to.
        beside: the block along the grid's other side.
    """

    nodes: tuple[int, ...]
    frame: Frame | None
    blocks: tuple[int, ...]
    beside: int


@dataclass(frozen=True, eq=False)
class Grid(Scheme):
    """Blocks in a grid.

    Attributes:
        rows, columns, dtype: of the weight.
        signals: [nodes, blocks_m]; a node's block is the sum of blocks (i, j) times
            signals[node, i] activations[node, j].
        activations: [nodes, blocks_n].
        forward_words, backward_words: of the passes; also of the blocks themselves.
        alike: words of nodes that are given the same thing: the activations, then the signals.
    """

    rows: int
    columns: int
    dtype: np.dtype[Any]
    signals: Array
    activations: Array
    forward_words: tuple[Word, ...]
    backward_words: tuple[Word, ...]
    alike: tuple[tuple[Word, ...], tuple[Word, ...]]

    @property
    def count(self) -> int:
        """Of nodes."""
        return len(self.signals)

    @property
    def block_shape(self) -> tuple[int, int]:
        """See `Scheme`."""
        return -(-self.rows // self.signals.shape[1]), -(-self.columns // self.activations.shape[1])

    def weight_share(self, weight: Array, node: int) -> Array:
        """See `Scheme`."""
        rows = _mixed(_blocks(weight, self.signals.shape[1]), self.signals[node])
        columns = _blocks(rows.T, self.activations.shape[1])
        return np.ascontiguousarray(_mixed(columns, self.activations[node]).T)

    def forward_inputs(self, activation: Array, nodes: Collection[int]) -> dict[int, Array]:
        """See `Scheme`."""
        return self._given(activation, self.activations, self.forward_words, nodes)

    def backward_inputs(self, signal: Array, nodes: Collection[int]) -> dict[int, Array]:
        """See `Scheme`."""
        return self._given(signal, self.signals, self.backward_words, nodes)

    def forward(self, results: Mapping[int, Array], steps: int) -> Answer:
        """See `Scheme`."""
        return self._answer(self.forward_words, results, steps, self.rows)

    def backward(self, results: Mapping[int, Array], steps: int) -> Answer:
        """See `Scheme`."""
        return self._answer(self.backward_words, results, steps, self.columns)

    def update_inputs(
        self, activation: Array, signal: Array, nodes: Collection[int]
    ) -> dict[int, Inputs]:
        """See `Scheme`."""
        activations = _blocks(activation, self.activations.shape[1])
        signals = _blocks(signal, self.signals.shape[1])
        return {
            node: Inputs(
                _mixed(activations, self.activations[node]), _mixed(signals, self.signals[node])
            )
            for node in nodes
        }

    def wrong_inputs(self, projections: Mapping[int, Inputs]) -> frozenset[int]:
        """See `Scheme`."""
        activations = {node: value.activation for node, value in projections.items()}
        signals = {node: value.signal for node, value in projections.items()}
        return _liars(self.alike[0], activations, 0, self.dtype) | _liars(
            self.alike[1], signals, 0, self.dtype
        )

    def wrong_blocks(self, sketches: Mapping[int, Array], steps: int) -> frozenset[int]:
        """See `Scheme`."""
        return _liars((*self.forward_words, *self.backward_words), sketches, steps, self.dtype)

    def share(self, strips: Mapping[int, Array], node: int, steps: int) -> Array:
        """See `Scheme`."""
        for word in (*self.forward_words, *self.backward_words):
            given = [other for other in word.nodes if other in strips and other != node]
            if word.frame is None or node not in word.nodes:
                continue
            if len(given) >= word.frame.node_threshold:
                values, _, _ = _decoded(word, strips, steps, self.dtype)
                mixes = np.asarray(word.frame.mixes)[word.nodes.index(node)]
                return _mixed(values, mixes)
        raise _lost(node)

    def weight(self, strips: Sequence[Mapping[int, Array]], steps: int) -> Array:
        """See `Scheme`."""
        m, n = self.signals.shape[1], self.activations.shape[1]
        grid: dict[tuple[int, int], list[Array]] = {key: [] for key in product(range(m), range(n))}
        for strip in strips:
            for word in self.forward_words:
                values, _, _ = _decoded(word, strip, steps, self.dtype)
                for block, value in zip(word.blocks, values, strict=True):
                    grid[block, word.beside].append(value)
        whole = np.block([[np.concatenate(grid[i, j]) for j in range(n)] for i in range(m)])
        return np.asarray(whole[: self.rows, : self.columns], dtype=self.dtype)

    def _given(
        self, values: Array, mixes: Array, words: Iterable[Word], nodes: Collection[int]
    ) -> dict[int, Array]:
        blocks = _blocks(values, mixes.shape[1])
        serving = {node for word in words for node in word.nodes}
        return {node: _mixed(blocks, mixes[node]) for node in nodes if node in serving}

    def _answer(
        self, words: Sequence[Word], results: Mapping[int, Array], steps: int, length: int
    ) -> Answer:
        sums: dict[int, Array] = {}
        liars: set[int] = set()
        estimate = 0.0
        for word in words:
            values, wrong, error = _decoded(word, results, steps, self.dtype)
            liars |= wrong
            estimate = max(estimate, error)
            for block, value in zip(word.blocks, values, strict=True):
                sums[block] = sums[block] + value if block in sums else value
        whole = np.concatenate([sums[block] for block in sorted(sums)])
        return Answer(whole[:length].astype(self.dtype), frozenset(liars), estimate)


def uncoded(rows: int, columns: int, dtype: np.dtype[Any], m: int, n: int) -> Grid:
    """Every block at one node; what a node says is taken for true."""
    return copies(rows, columns, dtype, m, n, 1)


def copies(rows: int, columns: int, dtype: np.dtype[Any], m: int, n: int, times: int) -> Grid:
    """Every block at so many nodes; what two of them say is right."""
    places = list(product(range(m), range(n)))

    def word(i: int, j: int, block: int, beside: int) -> Word:
        start = places.index((i, j)) * times
        frame = Frame(np.ones((times, 1)), np.ones((1, 1))) if times > 1 else None
        return Word(tuple(range(start, start + times)), frame, (block,), beside)

    signals = np.repeat([np.eye(m)[i] for i, _ in places], times, axis=0)
    activations = np.repeat([np.eye(n)[j] for _, j in places], times, axis=0)
    return Grid(
        rows, columns, dtype, signals, activations,
        tuple(word(i, j, i, j) for i, j in places),
        tuple(word(i, j, j, i) for i, j in places),
        (_alike(activations), _alike(signals)) if times > 1 else ((), ()),
    )  # fmt: skip


def rows_and_columns(
    rows: int, columns: int, dtype: np.dtype[Any], m: int, n: int, more: int
) -> Grid:
    """The grid, and `more` further rows for the forward pass and columns for the backward pass."""
    down, across = _mds(m + more, m), _mds(n + more, n)
    places = [(i, j) for i, j in product(range(m + more), range(n + more)) if i < m or j < n]
    forward = tuple(
        Word(
            tuple(place for place, (_, column) in enumerate(places) if column == j),
            Frame(down, np.eye(m)), tuple(range(m)), j,
        )
        for j in range(n)
    )  # fmt: skip
    backward = tuple(
        Word(
            tuple(place for place, (row, _) in enumerate(places) if row == i),
            Frame(across, np.eye(n)), tuple(range(n)), i,
        )
        for i in range(m)
    )  # fmt: skip
    signals = np.stack([down[i] for i, _ in places])
    activations = np.stack([across[j] for _, j in places])
    alike = _alike(activations), _alike(signals)
    return Grid(rows, columns, dtype, signals, activations, forward, backward, alike)


def _mds(length: int, data: int) -> Array:
    """[length, data], systematic: further rows interpolate at Chebyshev points."""
    points = first(length)
    powers = np.polynomial.chebyshev.chebvander(points, data - 1)
    return np.asarray(powers @ np.linalg.inv(powers[:data]))


def _alike(mixes: Array) -> tuple[Word, ...]:
    """Words of nodes with equal mixes, of two and more."""
    groups: dict[bytes, list[int]] = {}
    for node, mix in enumerate(mixes):
        groups.setdefault(mix.tobytes(), []).append(node)
    return tuple(
        Word(tuple(group), Frame(np.ones((len(group), 1)), np.ones((1, 1))), (0,), 0)
        for group in groups.values()
        if len(group) > 1
    )


def _liars(
    words: Iterable[Word], results: Mapping[int, Array], steps: int, dtype: np.dtype[Any]
) -> frozenset[int]:
    found: set[int] = set()
    for word in words:
        given = {word.nodes.index(node): results[node] for node in word.nodes if node in results}
        if word.frame is not None and given:
            sigma = noise(word.frame, given, steps, dtype)
            found |= {word.nodes[place] for place in word.frame.locate(given, sigma)}
    return frozenset(found)


def _decoded(
    word: Word, results: Mapping[int, Array], steps: int, dtype: np.dtype[Any]
) -> tuple[Sequence[Array], set[int], float]:
    """Values, liars and the estimate of a word."""
    given = {word.nodes.index(node): results[node] for node in word.nodes if node in results}
    if word.frame is None:
        if not given:
            raise _lost(word.nodes[0])
        return [given[0]], set(), 0.0
    found = word.frame.decode(given, noise(word.frame, given, steps, dtype))
    return list(found.values), {word.nodes[place] for place in found.liars}, found.estimate


def _blocks(values: Array, count: int) -> list[Array]:
    """Values in `count` parts of equal length, filled up with zeros."""
    length = -(-len(values) // count)
    padded = np.zeros((length * count, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return list(padded.reshape(count, length, *values.shape[1:]))


def _mixed(blocks: Sequence[Array], mix: Array) -> Array:
    """A sum of blocks, in double precision; a block alone is itself."""
    chosen = [int(place) for place in np.nonzero(mix)[0]]
    if len(chosen) == 1 and mix[chosen[0]] == 1.0:
        return np.asarray(blocks[chosen[0]])
    total = sum(mix[place] * blocks[place].astype(np.float64) for place in chosen)
    return np.asarray(total, dtype=blocks[0].dtype)


def _lost(node: int) -> NotRecoverable:
    return NotRecoverable((), (node,), 1)
