"""Generalized PolyDot: a product of two matrices, coded; exact to rounding from any K rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from codes.checks import check_choice, check_size
from codes.polydot.families import FAMILIES, Mixes, Mixing, mixing, unknowns
from codes.polydot.frame import Decoded, Frame, Limits
from codes.polydot.tiles import entries_of_tile, tiles

MOST_BLOCKS = 64  # of one axis; beyond it a slip of the pen
SPARES = 2  # nodes beyond circle's threshold from which `auto` takes it for mixed grids
MANY_LOST = 8  # from here on the worst of 200 random losses was decoded better by rkrp, for m n > 8
ROWS = {family: 2 if family == "conj" else 1 for family in FAMILIES}  # of a node's answer
EPS64 = float(np.finfo(np.float64).eps)
Array = NDArray[Any]


class Noise(NamedTuple):
    """What rounding does to a node's answer.

    Attributes:
        sigma: root mean square of an entry's error.
        size: root mean square that an entry would have, were nothing cancelled.
    """

    sigma: float
    size: float


@final
@dataclass(frozen=True)
class Product:
    """C = A B from any `node_threshold` of the nodes, each of which multiplies two mixes of blocks.

    A is an m x p grid of blocks, B a p x n one. p = 1 are polynomial codes, m = n = 1 is MatDot.
    Threshold: K rows: p m n + p - 1 of families mono and conj, m n (2 p - 1) of circle, cheb and
    rkrp. A node's answer is one row, and of conj, whose shares are complex, two.
    Encode: A~ = sum_ij of_a[i, j] A_ij, B~ = sum_kl of_b[k, l] B_kl. Node: A~ B~.
    Decode: least squares over all healthy rows, in float64.
    Cost: encode nodes (|A| + |B|), decode nodes |C| multiply-adds; a node's product is 1 / (m p n)
    of the whole, four times that of conj; operands' shares are |A| / (m p) and |B| / (p n), twice
    that of conj, and its answer |C| / (m n), of conj the same twice.
    Liars: named up to a limit; see `most_liars`.
    Source: [dutta2018]; circle is this project's, cheb after [fahim2019], rkrp [subramaniam2019].
    Deviates: points and bases that keep rounding small (docs/polydot.md); all responders are used.

    Args:
        blocks_m, blocks_p, blocks_n: of A's rows, the inner dimension, B's columns; 1 to 64 each.
        nodes: `node_threshold` to 256.
        family: "mono", "conj", "circle", "cheb" or "rkrp"; "auto" chooses: conj where p > 1 and
            m n > 1 and circle would not have two nodes to spare, else circle, but rkrp where p = 1
            and 8 nodes or more may be lost.
    """

    name: ClassVar[str] = "polydot"
    summary: ClassVar[str] = "a matrix product from any K of n nodes; wrong ones are located"
    source: ClassVar[str] = "dutta2018"

    blocks_m: int
    blocks_p: int
    blocks_n: int
    nodes: int
    family: str = "auto"

    def __post_init__(self) -> None:
        for argument in ("blocks_m", "blocks_p", "blocks_n"):
            check_blocks(argument, getattr(self, argument))
        check_choice("family", self.family, ("auto", *FAMILIES))
        check_size("nodes", self.nodes, self.node_threshold, f"what {self._says} needs")

    @property
    def kind(self) -> str:
        """The family that was chosen."""
        return chosen(self.family, *self.grid, self.nodes)

    @property
    def grid(self) -> tuple[int, int, int]:
        """(m, p, n)."""
        return self.blocks_m, self.blocks_p, self.blocks_n

    @property
    def threshold(self) -> int:
        """K: real rows that are needed."""
        return unknowns(self.kind, *self.grid)

    @property
    def rows_per_node(self) -> int:
        """1, or 2 where shares are complex."""
        return ROWS[self.kind]

    @property
    def node_threshold(self) -> int:
        """Any that many nodes give the product."""
        return -(-self.threshold // self.rows_per_node)

    def most_liars(self, erased: int = 0) -> Limits:
        """How many liars are corrected among the results of all nodes but `erased`."""
        return self.frame.most_liars(erased)

    @cached_property
    def mixing(self) -> Mixing:
        """With which numbers nodes mix."""
        return mixing(self.kind, *self.grid, self.nodes)

    @cached_property
    def frame(self) -> Frame:
        """What the answers are made of."""
        return Frame(self.mixing.generator, self.mixing.extraction)

    def split_a(self, a: Array) -> Array:
        """A [N1, N2] as blocks [m, p, ceil(N1 / m), ceil(N2 / p)], padded with zeros.

        Raises:
            ValueError: not a matrix of at least one entry, not float32 or float64, or not finite.
        """
        return split(a, "a", self.blocks_m, self.blocks_p)

    def split_b(self, b: Array) -> Array:
        """B [N2, N3] as blocks [p, n, ceil(N2 / p), ceil(N3 / n)], the same."""
        return split(b, "b", self.blocks_p, self.blocks_n)

    def encode_a(self, a: Array) -> list[Array]:
        """Every node's share of A [N1, N2]: of its precision, complex for conj."""
        return all_mixed(self.mixing.of_a, self.split_a(a))

    def encode_b(self, b: Array) -> list[Array]:
        """The same of B [N2, N3]."""
        return all_mixed(self.mixing.of_b, self.split_b(b))

    def decode(
        self,
        results: Mapping[int, Array],
        noise: Noise,
        shape: tuple[int, int],
        *,
        max_error: float | None = None,
        most_liars: int | None = None,
        seed: int = 0,
    ) -> Decoded:
        """C from nodes' answers; `values` of what comes back is C itself.

        Args:
            results: by node, A~ B~.
            noise: of the nodes; the `worst` of their `product_noise`.
            shape: (N1, N3) of C.
            max_error, most_liars, seed: as of `Frame.decode`, whose errors are raised.
        """
        first = np.asarray(next(iter(results.values()), np.empty((0, 0))))
        height, width = first.shape
        whole = np.empty((self.blocks_m * height, self.blocks_n * width), first.real.dtype)
        blocks = whole.reshape(self.blocks_m, height, self.blocks_n, width).swapaxes(1, 2)
        found = self.frame.decode(
            results, noise.sigma, size=noise.size * np.sqrt(self.blocks_p), max_error=max_error,
            most_liars=most_liars, seed=seed, into=blocks,
        )  # fmt: skip
        values = whole[: shape[0], : shape[1]]
        return Decoded(values, found.estimate, found.liars, found.nodes)

    @property
    def _says(self) -> str:
        m, p, n = self.grid
        return f"{self.kind} at (m, p, n) = ({m}, {p}, {n})"


def chosen(family: str, m: int, p: int, n: int, nodes: int) -> str:
    """The family that "auto" takes for so many nodes; any other is itself."""
    if family != "auto":
        return family
    if p > 1 and m * n > 1 and nodes < unknowns("circle", m, p, n) + SPARES:
        return "conj"
    return "rkrp" if p == 1 and nodes >= m * n + MANY_LOST else "circle"


def fewest_nodes(grid: tuple[int, int, int], family: str) -> int:
    """With how many nodes there is a product of a grid of blocks."""
    kind = chosen(family, *grid, nodes=0)
    return -(-unknowns(kind, *grid) // ROWS[kind])


def check_blocks(argument: str, value: int) -> None:
    """Check a number of blocks; raises ValueError."""
    if type(value) is not int or not 1 <= value <= MOST_BLOCKS:
        raise ValueError(
            f"Argument '{argument}' must be a whole number in 1..{MOST_BLOCKS}, not {value!r}."
        )


def split(matrix: Array, argument: str, rows: int, columns: int) -> Array:
    """A matrix as blocks [rows, columns, height, width], padded with zeros at the end; where rows
    only have to be cut, a view.

    Raises:
        ValueError: see `Product.split_a`.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(
            f"Argument '{argument}' must be a matrix of at least 1 entry, "
            f"not of shape {list(matrix.shape)}."
        )
    if matrix.dtype not in (np.float32, np.float64):
        raise ValueError(f"Argument '{argument}' must be float32 or float64, not {matrix.dtype}.")
    if not np.isfinite(matrix).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(matrix))[0]]
        raise ValueError(f"Argument '{argument}' must be finite, which entry {where} is not.")
    height, width = -(-matrix.shape[0] // rows), -(-matrix.shape[1] // columns)
    if columns == 1 and len(matrix) == rows * height:
        return matrix.reshape(rows, 1, height, width)
    blocks = np.zeros((rows, columns, height, width), matrix.dtype)
    for i in range(rows):
        for j in range(columns):
            part = matrix[i * height : (i + 1) * height, j * width : (j + 1) * width]
            blocks[i, j, : part.shape[0], : part.shape[1]] = part
    return blocks


def joined(blocks: Array, rows: int, columns: int, shape: tuple[int, int]) -> Array:
    """Blocks [rows * columns, height, width] as a matrix, cropped to its shape."""
    _, height, width = blocks.shape
    grid = blocks.reshape(rows, columns, height, width).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width)[: shape[0], : shape[1]]


def mixed(mix: Mixes, blocks: Array) -> Array:
    """sum_ij mix[i, j] blocks[i, j], summed in float64 and rounded once to the blocks' precision,
    complex where the mix is."""
    return all_mixed(np.asarray(mix)[None], blocks)[0]


def all_mixed(mixes: Mixes, blocks: Array | Sequence[Array]) -> list[Array]:
    """The same of several mixes, [nodes, ...]: blocks are read once for all of them, and what all
    get whole is not copied. Blocks may also be a list of matrices, by rows, that lie anywhere."""
    parts = blocks.reshape(-1, *blocks.shape[-2:]) if isinstance(blocks, np.ndarray) else blocks
    if len(parts) == 1 and not np.iscomplexobj(mixes) and (mixes == 1).all():
        return [parts[0]] * len(mixes)
    numbers = np.asarray(mixes).reshape(len(mixes), -1)
    is_complex = np.iscomplexobj(numbers)
    height, width = parts[0].shape
    dtype = parts[0].dtype
    wanted = np.result_type(dtype, np.complex64) if is_complex else dtype
    shares = np.empty((len(numbers), height, width), wanted)
    real = np.concatenate([numbers.real, numbers.imag]) if is_complex else numbers
    of_tile = entries_of_tile(len(parts), len(real))
    wide = np.empty((len(parts), min(height * width, of_tile)))
    made = np.empty((len(real), wide.shape[1]))
    for lines, columns in tiles(height, width, of_tile):
        shape = (lines.stop - lines.start, columns.stop - columns.start)
        entries = shape[0] * shape[1]
        for i, part in enumerate(parts):
            wide[i, :entries].reshape(shape)[...] = part[lines, columns]
        np.matmul(real, wide[:, :entries], out=made[:, :entries])
        sums = made[:, :entries].reshape(-1, len(numbers), *shape)
        shares.real[:, lines, columns] = sums[0]
        if is_complex:
            shares.imag[:, lines, columns] = sums[1]
    return list(shares)


def product_noise(share_a: Array, share_b: Array) -> Noise:
    """What rounding does to the product of two shares, in their precision.

    Both are rounded themselves, and sums over the inner dimension grow errors by its root at most;
    blocked sums, which libraries use, stay below a tenth of that. What is computed here in float64
    is not free of it either.
    """
    entries = share_a.shape[0] * share_b.shape[1]
    eps = float(np.finfo(share_a.dtype).eps)
    return noise_of(energies(share_a, 0), energies(share_b, 1), entries, eps)


def noise_of(of_a: Array, of_b: Array, entries: int, eps: float) -> Noise:
    """The same from the `energies` of A~'s columns and B~'s rows, which may be summed in pieces.

    Args:
        of_a, of_b: [inner].
        entries: of the product.
        eps: of the shares' precision.
    """
    size = float(np.sqrt(float(of_a @ of_b) / entries))
    of_sums = 0.5 + 0.05 * float(np.sqrt(len(of_a)))
    return Noise((eps * of_sums + 2 * EPS64) * size, size)


def worst(noises: list[Noise]) -> Noise:
    """Of several nodes: the largest noise, and the typical size."""
    sizes = [noise.size for noise in noises]
    return Noise(max(noise.sigma for noise in noises), float(np.median(sizes)))


def energies(share: Array, over: int) -> NDArray[np.float64]:
    """Sums of squares along an axis."""
    kept = "j" if over == 0 else "i"
    total = np.einsum(f"ij,ij->{kept}", share.real, share.real, dtype=np.float64)
    if np.iscomplexobj(share):
        total += np.einsum(f"ij,ij->{kept}", share.imag, share.imag, dtype=np.float64)
    return np.asarray(total)
