"""Results as real rows in float64: of large results piece by piece, to hold them once only.

A complex result is two rows, its real and its imaginary part. Sums over rows and over entries are
made here; what they mean is known in `codes.polydot.frame` and `codes.polydot.located`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codes.base import Matrix

PIECE = 1 << 16  # entries of a row at a time: 60 rows of them take 31 MB
HELD = 1 << 22  # entries of all rows that are kept in float64 between passes: 34 MB
BUCKETS = 256  # sums by which a result is checked: enough for a rank of as many liars
FEW = 4096  # entries; so many are looked at one by one
LARGEST = 1e150  # beyond it squares are not finite: as good as infinity


@dataclass(frozen=True, eq=False)
class Rows:
    """Results of some nodes.

    Attributes:
        nodes: ascending.
        arrays: one a node, of one shape and dtype.
        width: rows a node, 1 or 2.
    """

    nodes: tuple[int, ...]
    arrays: tuple[NDArray[Any], ...]
    width: int

    @classmethod
    def of(cls, results: Mapping[int, Any], width: int) -> "Rows":
        """From results by node.

        Raises:
            ValueError: none, or shapes and dtypes that differ; complex where rows are single, or
                the reverse.
        """
        nodes = tuple(sorted(results))
        if not nodes:
            raise ValueError("Argument 'results' must have at least 1 result, not 0.")
        arrays = tuple(np.asarray(results[node]) for node in nodes)
        first = arrays[0]
        wanted = "complex" if width == 2 else "real"
        if first.dtype.kind != wanted[0].replace("r", "f"):
            raise ValueError(f"Results must be {wanted} floating point, not {first.dtype}.")
        for node, array in zip(nodes, arrays, strict=True):
            if array.shape != first.shape or array.dtype != first.dtype:
                raise ValueError(
                    f"Result of node {node} must be {first.dtype} {list(first.shape)} as that of "
                    f"node {nodes[0]} is, not {array.dtype} {list(array.shape)}."
                )
        if not first.size:
            raise ValueError("Results must have at least 1 entry, not 0.")
        return cls(nodes, arrays, width)

    @property
    def entries(self) -> int:
        """Of a row."""
        return int(self.arrays[0].size)

    @property
    def eps(self) -> float:
        """Of the results' precision."""
        return float(np.finfo(self.arrays[0].dtype).eps)

    def without(self, nodes: frozenset[int]) -> "Rows":
        """The others."""
        if nodes.isdisjoint(self.nodes):
            return self
        kept = [i for i, node in enumerate(self.nodes) if node not in nodes]
        arrays = tuple(self.arrays[i] for i in kept)
        return Rows(tuple(self.nodes[i] for i in kept), arrays, self.width)

    def pieces(self, entries: int) -> Iterator[tuple[slice, Matrix]]:
        """All rows, so many entries at a time: where, and [rows, entries] in float64, to be read
        only, which may be overwritten by the next."""
        is_held = self.entries * len(self.arrays) * self.width <= HELD
        for start in range(0, self.entries, entries):
            piece = slice(start, min(start + entries, self.entries))
            yield piece, self._held[:, piece] if is_held else self._wide(piece)

    @cached_property
    def _held(self) -> Matrix:
        return self._wide(slice(0, self.entries))

    def _wide(self, piece: slice) -> Matrix:
        rows = np.empty((len(self.arrays) * self.width, piece.stop - piece.start))
        for i, array in enumerate(self.arrays):
            flat = array.reshape(-1)[piece]
            if self.width == 2:
                rows[2 * i], rows[2 * i + 1] = flat.real, flat.imag
            else:
                rows[i] = flat
        return rows

    def times(self, matrix: Matrix) -> tuple[NDArray[Any], float]:
        """matrix [w, rows] times the rows, [w, *shape] in the results' real precision, and its
        Frobenius norm."""
        first = self.arrays[0]
        made = np.empty((len(matrix), self.entries), first.real.dtype)
        square = 0.0
        for piece, rows in self.pieces(PIECE):
            product = matrix @ rows
            square += float(np.vdot(product, product))
            made[:, piece] = product
        return made.reshape(len(matrix), *first.shape), float(np.sqrt(square))

    def sums(self, seed: int) -> Matrix:
        """Random sums of the entries of each row, [rows, buckets], each as large as an entry; or
        the entries themselves, if they are few."""
        if self.entries <= FEW:
            return next(self.pieces(FEW))[1].copy()
        width = -(-self.entries // BUCKETS)
        weights = np.random.default_rng(seed).standard_normal(width) / np.sqrt(width)
        made = []
        for _, rows in self.pieces(max(1, PIECE // width) * width):
            whole, rest = divmod(rows.shape[1], width)
            buckets = rows[:, : whole * width].reshape(len(rows), whole, width)
            made.append(buckets @ weights)
            if rest:
                made.append(rows[:, -rest:] @ weights[:rest, None])
        return np.concatenate(made, axis=1)

    def compressed(self) -> Matrix:
        """[rows, at most rows]: the rows but for a rotation of their entries, which changes no
        singular value of what they are multiplied by."""
        factor = np.empty((0, len(self.arrays) * self.width))
        for _, rows in self.pieces(FEW):
            factor = np.asarray(np.linalg.qr(np.concatenate([factor, rows.T]), mode="r"))
        return np.asarray(factor.T)

    def broken(self) -> frozenset[int]:
        """Nodes whose result is not finite, or as good as that."""
        with np.errstate(all="ignore"):
            is_well = [
                bool(np.isfinite(a).all() and max(np.abs(a).max(), 0.0) < LARGEST)
                for a in self.arrays
            ]
        return frozenset(node for node, well in zip(self.nodes, is_well, strict=True) if not well)


def typical_noise(rows: Rows, threshold: int) -> float:
    """4 eps times the size of results, where they are sums that do not cancel.

    Of the sizes the `threshold`-th smallest: the majority may be lies, as long as so many are not.
    """
    square = np.zeros(len(rows.nodes) * rows.width)
    for _, piece in rows.pieces(PIECE):
        square += np.einsum("ij,ij->i", piece, piece)
    by_node = square.reshape(len(rows.nodes), -1).mean(axis=1)
    sizes = np.sort(np.sqrt(by_node / rows.entries))
    return 4 * rows.eps * float(sizes[min(threshold, len(sizes)) - 1])
