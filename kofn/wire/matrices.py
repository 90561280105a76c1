"""Matrices as they travel: heads and chunks to NumPy arrays and back, and the sketches' Omega.

Bytes are row-major and little-endian, a complex number its real part and then its imaginary part.
What a matrix is for and whether there is room for it is decided elsewhere.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kofn.wire import matrices_pb2 as pb
from kofn.wire.errors import InvalidArgument

Array = npt.NDArray[Any]
Data = bytes | memoryview

CHUNK_BYTES = 2**20  # under the 4 MiB at which protobuf's copies grow dear
DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "C128": np.dtype("<c16"),
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def head_of(array: Array) -> pb.MatrixHead:
    """The head of a matrix.

    Raises:
        TypeError: not two dimensions, or a dtype that does not travel.
    """
    datatype = DATATYPES.get(array.dtype)
    if datatype is None or array.ndim != 2:
        raise TypeError(
            f"A matrix must have 2 dimensions and one of the dtypes "
            f"{', '.join(str(dtype) for dtype in DTYPES.values())}, not {array.dtype} "
            f"{list(array.shape)}."
        )
    return pb.MatrixHead(datatype=datatype, rows=array.shape[0], columns=array.shape[1])


def dtype_of(what: str, head: pb.MatrixHead) -> "np.dtype[Any]":
    """The dtype of a matrix that is to come; its sizes are sound, too.

    Raises:
        InvalidArgument: `what` has no such datatype, or a size below 1.
    """
    dtype = DTYPES.get(head.datatype)
    if dtype is None:
        raise InvalidArgument(
            f"{what} must be of datatype {', '.join(DTYPES)}, not {head.datatype[:80]!r}."
        )
    if head.rows < 1 or head.columns < 1:
        raise InvalidArgument(
            f"{what} must have sizes of at least 1, not [{head.rows}, {head.columns}]."
        )
    return dtype


def size_bytes(head: pb.MatrixHead) -> int:
    """Bytes of a matrix whose head is sound."""
    return int(head.rows * head.columns * DTYPES[head.datatype].itemsize)


def chunks(array: Array) -> Iterator[memoryview]:
    """The bytes of a matrix where they lie; whole rows a chunk where they fit. Copies no more than
    a chunk."""
    array = np.asarray(array, array.dtype.newbyteorder("<"))
    row_bytes = array.shape[1] * array.itemsize
    rows = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, array.shape[0], rows):
        part = np.ascontiguousarray(array[start : start + rows])
        data = part.reshape(-1).view(np.uint8).data
        for at in range(0, len(data), CHUNK_BYTES):
            yield data[at : at + CHUNK_BYTES]


class Filling:
    """A matrix that arrives in chunks.

    Args:
        what: what errors call it.
        head: sound, as `dtype_of` checks.
        into: a contiguous array of its shape and dtype to be filled; None makes one.

    Attributes:
        array: the matrix; sound once it is full.
    """

    def __init__(self, what: str, head: pb.MatrixHead, into: Array | None = None) -> None:
        shape = (head.rows, head.columns)
        self.array: Array = np.empty(shape, DTYPES[head.datatype]) if into is None else into
        self._what = what
        self._bytes = self.array.reshape(-1).view(np.uint8)
        self._filled = 0

    @property
    def is_full(self) -> bool:
        """Whether all of it has come."""
        return self._filled == len(self._bytes)

    def take(self, data: Data) -> Data:
        """Take in what is still lacking of a chunk; gives the rest of it."""
        part = data[: len(self._bytes) - self._filled]
        self._bytes[self._filled : self._filled + len(part)] = np.frombuffer(part, np.uint8)
        self._filled += len(part)
        return data[len(part) :]

    def check_full(self) -> None:
        """Raise InvalidArgument where the sender stopped too early."""
        if not self.is_full:
            raise InvalidArgument(
                f"{self._what} must have {len(self._bytes)} bytes, not {self._filled}."
            )


def take_in(fillings: Sequence[Filling], data: Data) -> Data:
    """Take a chunk into matrices that arrive one after the other; gives what none of them lacks."""
    for filling in fillings:
        data = filling.take(data)
    return data


def omega(seed: int, columns: int, sketch_columns: int) -> npt.NDArray[np.float64]:
    """The random matrix of `Sketch`, standard normal [columns, sketch_columns].

    The same for whoever has the seed: shares sketched with it are a codeword as they are.
    """
    noise = np.random.Generator(np.random.Philox(key=seed))
    return noise.standard_normal((columns, sketch_columns))
