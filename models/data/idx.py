"""Reads IDX files, the format of MNIST: a big-endian header, then unsigned bytes."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.data.dataset import DataError

UNSIGNED_BYTES = 0x08  # the type code of all data sets in use
LARGEST_BYTES = 1 << 31
GZIP_MAGIC = b"\x1f\x8b"
ACCEPTED = "an IDX file of unsigned bytes, plain or gzipped"


def read_idx(path: Path, dimensions: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read one file.

    Args:
        path: plain or gzipped.
        dimensions: how many dimensions are accepted: (1,) for labels, (3, 4) for images.

    Raises:
        DataError: no such file, another format, or another length than its header says.
    """
    try:
        with path.open("rb") as raw:
            is_zipped = raw.read(2) == GZIP_MAGIC
        with gzip.open(path) if is_zipped else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != bytes((0, 0, UNSIGNED_BYTES)):
                raise DataError(f"{path}: must be {ACCEPTED}; it starts with {magic.hex(' ')}.")
            if magic[3] not in dimensions:
                raise DataError(
                    f"{path}: must have {' or '.join(map(str, dimensions))} dimensions, "
                    f"not {magic[3]}: are images and labels swapped?"
                )
            header = file.read(4 * magic[3])
            if len(header) < 4 * magic[3]:
                raise DataError(f"{path}: ends within its header.")
            shape = struct.unpack(f">{magic[3]}I", header)
            size_bytes = int(np.prod(shape, dtype=object))
            if size_bytes > LARGEST_BYTES:
                raise DataError(f"{path}: says that it holds {size_bytes} bytes, over the limit.")
            data = file.read(size_bytes + 1)  # one more, to see that nothing follows
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a broken gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) != size_bytes:
        raise DataError(
            f"{path}: must hold {size_bytes} bytes for shape {shape}, "
            f"not {'more' if len(data) > size_bytes else len(data)}."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
