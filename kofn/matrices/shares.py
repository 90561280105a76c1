"""An operand's shares, made piece by piece while they are sent: no whole share is ever there.

An operand may lie in a file that is mapped into memory: it is read a panel of rows at a time, for
all nodes at once, since that costs hardly more than for one. A node that lags far behind the others
has its pieces made again for itself. Threads: any; each panel is made by one of them.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from codes.polydot import energies
from codes.polydot.product import all_mixed
from kofn.matrices.worker import Made
from kofn.wire import matrices_pb2 as pb
from kofn.wire.errors import InvalidArgument
from kofn.wire.matrices import CHUNK_BYTES, DATATYPES, chunks

Array = npt.NDArray[Any]

PANELS_BYTES = 128 * 2**20  # of pieces that some node still has to take
CHECKED_ENTRIES = 2**22  # looked at for infinities at once


class Shares:
    """What every node gets of one operand.

    Args:
        matrix: [rows, columns], float32 or float64.
        mixes: [nodes, r, c], by which nodes mix its r x c grid of blocks.
        over: 0 where the inner dimension of the product is the columns, 1 where it is the rows.
    """

    def __init__(self, matrix: Array, mixes: Array, over: int) -> None:
        self._matrix = matrix
        self._mixes = mixes
        self._over = over
        nodes, rows, columns = mixes.shape
        self.height = -(-matrix.shape[0] // rows)
        self.width = -(-matrix.shape[1] // columns)
        dtype = matrix.dtype.newbyteorder("<")
        wide = np.result_type(dtype, np.complex64) if np.iscomplexobj(mixes) else dtype
        self.dtype: np.dtype[Any] = wide
        self._step = max(1, CHUNK_BYTES // (self.width * self.dtype.itemsize))
        self._panels: OrderedDict[int, list[Array]] = OrderedDict()  # by first row, one a node
        self._taken: dict[int, int] = {}  # by first row: how many nodes have taken their piece
        self._sent = [0] * nodes
        self._making = threading.Lock()
        self._energies = np.zeros((nodes, self.width if over == 0 else self.height))
        self._seen: set[int] = set()  # panels that are in the energies

    @property
    def size_bytes(self) -> int:
        """Of one share."""
        return int(self.height * self.width * self.dtype.itemsize)

    @property
    def energies(self) -> npt.NDArray[np.float64]:
        """[nodes, inner]: see `codes.polydot.energies`; of what was made so far."""
        return self._energies

    def of(self, node: int) -> Made:
        """A node's share."""
        head = pb.MatrixHead(datatype=DATATYPES[self.dtype], rows=self.height, columns=self.width)
        return Made(head, lambda: self._pieces(node))

    @property
    def sent_bytes(self) -> int:
        """Of all nodes' shares, those of the last try each."""
        return sum(self._sent)

    def _pieces(self, node: int) -> Iterator[memoryview]:
        self._sent[node] = 0
        for start in range(0, self.height, self._step):
            piece = self._piece(start, node)
            yield from chunks(piece)
            self._sent[node] += piece.nbytes

    def _piece(self, start: int, node: int) -> Array:
        with self._making:
            panel = self._panels.get(start)
            if panel is None and start in self._seen:
                return all_mixed(self._mixes[node : node + 1], self._blocks(start))[0]
            if panel is None:
                panel = all_mixed(self._mixes, self._blocks(start))
                self._note(start, panel)
                self._panels[start] = panel
                self._taken[start] = 0
                while len(self._panels) > max(1, PANELS_BYTES // (len(panel) * panel[0].nbytes)):
                    self._panels.popitem(last=False)
            self._taken[start] += 1
            if self._taken[start] >= len(panel):
                self._panels.pop(start, None)
            return panel[node]

    def _blocks(self, start: int) -> list[Array]:
        """The same rows of all blocks, [some rows, width] each, padded with zeros."""
        _, rows, columns = self._mixes.shape
        stop = min(start + self._step, self.height)
        shape, blocks = (stop - start, self.width), []
        for i in range(rows):
            for j in range(columns):
                top, left = i * self.height, j * self.width
                part = self._matrix[
                    top + start : min(top + stop, len(self._matrix)), left : left + self.width
                ]
                if part.shape != shape:
                    whole = np.zeros(shape, part.dtype)
                    whole[: part.shape[0], : part.shape[1]] = part
                    part = whole
                blocks.append(part)
        return blocks

    def _note(self, start: int, panel: list[Array]) -> None:
        """Add up the energies of a panel, once."""
        self._seen.add(start)
        for node, piece in enumerate(panel):
            if self._over == 0:
                self._energies[node] += energies(piece, 0)
            else:
                self._energies[node, start : start + len(piece)] = energies(piece, 1)


def check_kind(name: str, matrix: Array) -> None:
    """Refuse what cannot be multiplied, without a look at its entries.

    Raises:
        InvalidArgument: names the argument, what is accepted, and what was seen.
    """
    if matrix.ndim != 2 or not matrix.size:
        raise InvalidArgument(
            f"{name} must be a matrix of at least 1 entry, not of shape {list(matrix.shape)}."
        )
    if matrix.dtype not in (np.float32, np.float64):
        raise InvalidArgument(f"{name} must be float32 or float64, not {matrix.dtype}.")


def check_finite(name: str, matrix: Array) -> None:
    """Refuse infinities and NaN; slow for large ones.

    Raises:
        InvalidArgument: says which entry.
    """
    step = max(1, CHECKED_ENTRIES // matrix.shape[1])
    for start in range(0, len(matrix), step):
        is_finite = np.isfinite(matrix[start : start + step])
        if not is_finite.all():
            row, column = np.argwhere(~is_finite)[0]
            raise InvalidArgument(
                f"{name} must be finite, which entry [{start + row}, {column}] is not."
            )
