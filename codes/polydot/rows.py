"""Results as real rows in float64: a tile at a time, to hold them once only.

A complex result is two rows, its real and its imaginary part. Sums over rows and over entries are
made here; what they mean is known in `codes.polydot.frame` and `codes.polydot.located`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codes.base import Matrix
from codes.polydot.tiles import entries_of_tile, tiles

BUCKETS = 256  # sums by which a result is checked: enough for a rank of as many liars
BUCKETS_OF_TILE = 8  # at least so many: what is left over beside whole ones is little
FEW = 4096  # entries; so many are looked at one by one
LARGEST = 1e150  # beyond it squares are not finite: as good as infinity


@dataclass(frozen=True, eq=False)
class Read:
    """What one reading of all rows gives.

    Attributes:
        sums: [rows, buckets]: random sums of the entries of each row, each as large as an entry; or
            the entries themselves, if they are few.
        scale: norms of whole results over norms of their sums.
        squares: [rows]: sums of the entries' squares; 0 where they were not asked for.
        values: [w, *shape]: a matrix times the rows, in the results' real precision; empty where
            there is none.
        norm: of them, Frobenius.
    """

    sums: Matrix
    scale: float
    squares: Matrix
    values: NDArray[Any]
    norm: float


@dataclass(frozen=True, eq=False)
class Rows:
    """Results of some nodes.

    Attributes:
        nodes: ascending.
        arrays: one a node, of one shape and dtype, as matrices: the last axis, and all others.
        width: rows a node, 1 or 2.
        shape: of a result.
    """

    nodes: tuple[int, ...]
    arrays: tuple[NDArray[Any], ...]
    width: int
    shape: tuple[int, ...]

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
        lines = first.reshape(-1, *first.shape[-1:] or (1,)).shape
        return cls(nodes, tuple(array.reshape(lines) for array in arrays), width, first.shape)

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
        return Rows(tuple(self.nodes[i] for i in kept), arrays, self.width, self.shape)

    def read(
        self,
        seed: int,
        times: Matrix | None = None,
        into: NDArray[Any] | None = None,
        *,
        is_sized: bool = False,
    ) -> Read:
        """All that is to be known of the entries, each of which is read once.

        Args:
            seed: of the random sums.
            times: [w, rows]: a matrix that they are multiplied by.
            into: [..., *shape], w in all: where to, of results that are matrices; None makes it.
            is_sized: whether squares are wanted.
        """
        w = 0 if times is None else len(times)
        of_tile = entries_of_tile(len(self.arrays) * self.width, max(1, w))
        width = 1
        if self.entries > FEW:
            width = min(-(-self.entries // BUCKETS), -(-of_tile // BUCKETS_OF_TILE))
        weights = np.random.default_rng(seed).standard_normal(width) / np.sqrt(width)
        squares, square = np.zeros(len(self.arrays) * self.width), 0.0
        made = np.empty((w, *self.shape), self.arrays[0].real.dtype) if into is None else into
        target = made.reshape(*made.shape[: made.ndim - len(self.shape)], *self.arrays[0].shape)
        sums = []
        for lines, columns, rows in self._pieces(of_tile):
            sums.append(_summed(rows, weights) if width > 1 else rows.copy())
            if is_sized:
                squares += np.vecdot(rows, rows)
            if times is not None:
                product = times @ rows
                square += float(np.vecdot(product, product).sum())
                place = target[..., lines, columns]
                place[...] = product.reshape(place.shape)
        return Read(
            np.concatenate(sums, axis=1), float(np.sqrt(width)), squares, made,
            float(np.sqrt(square)),
        )  # fmt: skip

    def _pieces(self, entries: int) -> Iterator[tuple[slice, slice, Matrix]]:
        """All rows, a tile at a time: where, and [rows, entries] in float64, overwritten by the
        next."""
        height, length = self.arrays[0].shape
        held = np.empty((len(self.arrays) * self.width, min(self.entries, entries)))
        for lines, columns in tiles(height, length, entries):
            yield lines, columns, self._wide(lines, columns, held)

    def _wide(self, lines: slice, columns: slice, held: Matrix) -> Matrix:
        shape = (lines.stop - lines.start, columns.stop - columns.start)
        rows = held[:, : shape[0] * shape[1]]
        target = rows.reshape(-1, *shape)
        for i, array in enumerate(self.arrays):
            if self.width == 2:
                part = array[lines, columns]
                target[2 * i], target[2 * i + 1] = part.real, part.imag
            else:
                target[i] = array[lines, columns]
        return rows

    def compressed(self) -> Matrix:
        """[rows, at most rows]: the rows but for a rotation of their entries, which changes no
        singular value of what they are multiplied by."""
        factor = np.empty((0, len(self.arrays) * self.width))
        for *_, rows in self._pieces(FEW):
            factor = np.asarray(np.linalg.qr(np.concatenate([factor, rows.T]), mode="r"))
        return np.asarray(factor.T)


def broken(rows: Rows, sums: Matrix) -> frozenset[int]:
    """Nodes whose result is not finite, or as good as that: neither are its sums."""
    with np.errstate(invalid="ignore"):
        is_well = np.abs(sums).reshape(len(rows.nodes), -1).max(axis=1) < LARGEST
    return frozenset(node for i, node in enumerate(rows.nodes) if not is_well[i])


def typical_noise(rows: Rows, squares: Matrix, threshold: int) -> float:
    """4 eps times the size of results, where they are sums that do not cancel.

    Of the sizes the `threshold`-th smallest: the majority may be lies, as long as so many are not.
    """
    by_node = squares.reshape(len(rows.nodes), -1).mean(axis=1)
    sizes = np.sort(np.sqrt(by_node / rows.entries))
    return 4 * rows.eps * float(sizes[min(threshold, len(sizes)) - 1])


def _summed(rows: Matrix, weights: Matrix) -> Matrix:
    """Sums of as many neighbours as there are weights, and of the rest."""
    whole, rest = divmod(rows.shape[1], len(weights))
    sums = rows[:, : whole * len(weights)].reshape(len(rows), whole, len(weights)) @ weights
    if not rest:
        return np.asarray(sums)
    return np.concatenate([sums, rows[:, -rest:] @ weights[:rest, None]], axis=1)
