"""Which (m, p, n) for a product over so many workers, and which is the nearest that works.

Pure. What a setting needs of every worker is counted here as the worker counts it: both shares and
the answer, at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codes.polydot import Product
from codes.polydot.product import MOST_BLOCKS, fewest_nodes
from kofn.wire.errors import InvalidArgument, ResourceExhausted

FLOPS_S, BYTES_S = 2e10, 5e8  # of a worker and its connection: only their ratio matters
MOST_NODES = 256  # of a code
TOO_LARGE = "no-memory"  # reason
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Sizes:
    """A [rows, inner] times B [inner, columns].

    Attributes:
        itemsize: bytes of a real number.
    """

    rows: int
    inner: int
    columns: int
    itemsize: int

    def needed_bytes(self, code: Product) -> int:
        """Of one worker's memory."""
        m, p, n = code.grid
        rows, inner, columns = -(-self.rows // m), -(-self.inner // p), -(-self.columns // n)
        entries = rows * inner + inner * columns + rows * columns
        return entries * self.itemsize * code.rows_per_node

    def cost_s(self, code: Product) -> float:
        """What a product takes, roughly: to choose by."""
        m, p, n = code.grid
        flops = 2 * self.rows * self.inner * self.columns / (m * p * n)
        flops *= 4 if code.rows_per_node == 2 else 1
        return flops / FLOPS_S + self.needed_bytes(code) / BYTES_S


def code_for(
    sizes: Sizes,
    grid: Grid | None,
    family: str,
    free_bytes: Sequence[int],
) -> Product:
    """The code of a product: as asked for, or the quickest that leaves a quarter of the workers.

    Args:
        sizes: of the operands.
        grid: (m, p, n); None chooses.
        family: as of `Product`.
        free_bytes: of every worker.

    Raises:
        InvalidArgument: the setting needs more workers than there are, or is none.
        ResourceExhausted: so many workers with so much memory are not there.
    """
    nodes = len(free_bytes)
    if not nodes:
        raise InvalidArgument("There must be at least 1 worker, not 0.")
    if grid is None:
        spare = max(1, nodes // 4) if nodes > 1 else 0
        known = [
            code
            for code in _codes(nodes, family)
            if code.node_threshold <= nodes - spare and (family != "auto" or code.kind != "conj")
        ]
        fitting = [code for code in known if _fits(sizes, code, free_bytes, spare)]
        if not fitting:
            raise _too_large(sizes, min(known, key=sizes.needed_bytes), free_bytes)
        return min(fitting, key=sizes.cost_s)
    try:
        Product(*grid, nodes=MOST_NODES, family=family)  # its checks
        needed = fewest_nodes(grid, family)
        if needed > nodes:
            raise ValueError(
                f"(m, p, n) = {grid} needs {needed} workers, and there are {nodes}."
                f"{_nearest(grid, nodes, family)}"
            )
        code = Product(*grid, nodes=nodes, family=family)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    if not _fits(sizes, code, free_bytes, 0):
        raise _too_large(sizes, code, free_bytes)
    return code


def _fits(sizes: Sizes, code: Product, free_bytes: Sequence[int], spare: int) -> bool:
    needed = sizes.needed_bytes(code)
    return sum(free >= needed for free in free_bytes) >= code.node_threshold + spare


def _nearest(grid: Grid, nodes: int, family: str) -> str:
    """The setting that works and differs least, by ratios; with a worker to spare where it can."""
    known = list(_codes(nodes, family))
    known = [code for code in known if code.node_threshold < nodes] or known
    if not known:
        return ""

    def distance(code: Product) -> float:
        return sum(math.log(a / b) ** 2 for a, b in zip(code.grid, grid, strict=True))

    best = min(known, key=lambda code: (distance(code), code.node_threshold))
    return (
        f" The nearest that works is (m, p, n) = {best.grid}, for which any "
        f"{best.node_threshold} of the {nodes} do."
    )


def _codes(nodes: int, family: str) -> Iterator[Product]:
    """All settings that work; complex shares are two rows, so that twice as many blocks may do."""
    for m in range(1, min(2 * nodes, MOST_BLOCKS) + 1):
        for n in range(1, min(2 * nodes // m, MOST_BLOCKS) + 1):
            for p in range(1, min(2 * nodes // (m * n), MOST_BLOCKS) + 1):
                try:
                    yield Product(m, p, n, nodes=nodes, family=family)
                except ValueError:
                    break  # more in the middle need more workers still


def _too_large(sizes: Sizes, code: Product, free_bytes: Sequence[int]) -> ResourceExhausted:
    needed = sizes.needed_bytes(code)
    able = sum(free >= needed for free in free_bytes)
    fitting = [
        other for other in _codes(len(free_bytes), "auto") if _fits(sizes, other, free_bytes, 0)
    ]
    hint = " No other (m, p, n) fits either: more workers or memory (--matrices-mb) are needed."
    if fitting:
        best = min(fitting, key=sizes.cost_s)
        hint = f" (m, p, n) = {best.grid} would do with {_mb(sizes.needed_bytes(best))} MiB each."
    return ResourceExhausted(
        f"(m, p, n) = {code.grid} needs {_mb(needed)} MiB of memory for matrices at each of "
        f"{code.node_threshold} workers, and {able} of {len(free_bytes)} have as much: "
        f"{_mb(min(free_bytes))} to {_mb(max(free_bytes))} MiB are free.{hint}",
        TOO_LARGE,
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.3g}" if size_bytes < 2**20 else f"{size_bytes / 2**20:.0f}"
