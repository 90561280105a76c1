"""Tensors as they travel, to NumPy arrays and back: the only place where bytes become numbers.

Datatypes are the Open Inference Protocol's. Reading copies nothing where the bytes can be used as
they are: such arrays are read-only views that keep the message's bytes alive. What a name, shape
or datatype must be for a model is checked elsewhere; here sizes and values must fit each other.
BF16 is refused: NumPy has no such type, and carried as integers it would be taken for numbers.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kofn.wire import worker_pb2
from kofn.wire.errors import InvalidArgument
from kofn.wire.inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse

InferInputTensor = ModelInferRequest.InferInputTensor
InferOutputTensor = ModelInferResponse.InferOutputTensor
Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),  # elements are Python bytes
}
_DATATYPES = {(dtype.kind, dtype.itemsize): name for name, dtype in DTYPES.items()}

# Which field of InferTensorContents carries a datatype, and what the field's numbers are.
_FIELDS = {
    "BOOL": ("bool_contents", np.dtype("?")),
    "UINT8": ("uint_contents", np.dtype("u4")),
    "UINT16": ("uint_contents", np.dtype("u4")),
    "UINT32": ("uint_contents", np.dtype("u4")),
    "UINT64": ("uint64_contents", np.dtype("u8")),
    "INT8": ("int_contents", np.dtype("i4")),
    "INT16": ("int_contents", np.dtype("i4")),
    "INT32": ("int_contents", np.dtype("i4")),
    "INT64": ("int64_contents", np.dtype("i8")),
    "FP32": ("fp32_contents", np.dtype("f4")),
    "FP64": ("fp64_contents", np.dtype("f8")),
    "BYTES": ("bytes_contents", np.dtype(object)),
}

MOST_DIMENSIONS = 32  # NumPy 1 and most tools stop there
LARGEST_BYTES = 2**31 - 1  # protobuf's own limit of a message: nothing larger can have arrived
_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor


def to_wire(array: Array) -> worker_pb2.Tensor:
    """A tensor of the worker protocol; one copy.

    Raises:
        TypeError: the array's dtype has no datatype.
    """
    tensor = worker_pb2.Tensor()
    fill(tensor, array)
    return tensor


def fill(tensor: worker_pb2.Tensor, array: Array) -> None:
    """`to_wire` into an empty tensor of a larger message, which would copy a finished one.

    Raises:
        TypeError: the array's dtype has no datatype.
    """
    datatype = datatype_of(array)
    tensor.datatype = datatype
    tensor.shape.extend(array.shape)
    tensor.data = _pack(datatype, array)


def from_wire(tensor: worker_pb2.Tensor) -> Array:
    """The array of a worker's or master's tensor: a read-only view.

    Raises:
        InvalidArgument: datatype, shape and bytes do not fit each other.
    """
    return _unpack("Tensor", tensor.datatype, tuple(tensor.shape), tensor.data)


def input_tensor(name: str, array: Array) -> tuple[InferInputTensor, bytes]:
    """An input of a request, without and beside its raw contents; raises TypeError as `to_wire`."""
    datatype = datatype_of(array)
    tensor = InferInputTensor(name=name, datatype=datatype, shape=array.shape)
    return tensor, _pack(datatype, array)


def input_array(tensor: InferInputTensor, raw: bytes | None) -> Array:
    """The array of a request's input.

    Args:
        tensor: the input.
        raw: its entry of `raw_input_contents`; None when the request has none and the numbers
            stand in the tensor's `contents`.

    Returns:
        An array of the tensor's shape and dtype: a read-only view of `raw`, or a new array.

    Raises:
        InvalidArgument: datatype, shape, size or values do not fit each other.
    """
    what = f"Input {tensor.name!r}"
    return _array(what, tensor.datatype, tensor.shape, raw, _contents(tensor))


def output_tensor(name: str, array: Array) -> tuple[InferOutputTensor, bytes]:
    """An output of a reply, without and beside its raw contents; raises TypeError as `to_wire`."""
    datatype = datatype_of(array)
    tensor = InferOutputTensor(name=name, datatype=datatype, shape=array.shape)
    return tensor, _pack(datatype, array)


def output_array(tensor: InferOutputTensor, raw: bytes | None) -> Array:
    """The array of a reply's output; arguments, result and errors as of `input_array`."""
    what = f"Output {tensor.name!r}"
    return _array(what, tensor.datatype, tensor.shape, raw, _contents(tensor))


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's dtype; raises TypeError when it has none."""
    kind = "O" if array.dtype.kind in "SU" else array.dtype.kind
    itemsize = DTYPES["BYTES"].itemsize if kind == "O" else array.dtype.itemsize
    try:
        return _DATATYPES[kind, itemsize]
    except KeyError:
        accepted = ", ".join(str(dtype) for dtype in DTYPES.values())
        raise TypeError(
            f"An array of dtype {array.dtype} cannot be sent; accepted: {accepted}."
        ) from None


def _contents(tensor: InferInputTensor | InferOutputTensor) -> InferTensorContents | None:
    """Typed contents with something in them: MLServer sends empty ones beside its raw bytes."""
    return tensor.contents if tensor.contents.ListFields() else None


def _pack(datatype: str, array: Array) -> bytes:
    if datatype != "BYTES":
        return array.astype(DTYPES[datatype], copy=False).tobytes()
    parts: list[bytes] = []
    for item in array.reshape(-1).tolist():
        element = item.encode() if isinstance(item, str) else item
        if not isinstance(element, bytes):
            raise TypeError(f"An element of a BYTES tensor must be bytes or str, not {item!r}.")
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def _array(
    what: str,
    datatype: str,
    shape: Sequence[int],
    raw: bytes | None,
    contents: InferTensorContents | None,
) -> Array:
    if raw is None:
        return _unpack_typed(what, datatype, shape, contents or InferTensorContents())
    if contents is not None:
        raise InvalidArgument(f"{what} must have raw contents or typed contents, not both.")
    return _unpack(what, datatype, shape, raw)


def _unpack(what: str, datatype: str, shape: Sequence[int], data: bytes) -> Array:
    dtype = _dtype(what, datatype)
    count = _count(what, shape, dtype)
    if datatype == "BYTES":
        return _objects(_elements(what, count, data), shape)
    if len(data) != count * dtype.itemsize:
        raise InvalidArgument(
            f"{what} of {datatype} {list(shape)} must have {count * dtype.itemsize} bytes, "
            f"not {len(data)}."
        )
    if datatype == "BOOL" and data.translate(None, b"\0\1"):
        raise InvalidArgument(f"{what} of BOOL must have bytes of 0 and 1 only.")
    return np.frombuffer(data, dtype).reshape(shape)


def _unpack_typed(
    what: str, datatype: str, shape: Sequence[int], contents: InferTensorContents
) -> Array:
    dtype = _dtype(what, datatype)
    count = _count(what, shape, dtype)
    if datatype not in _FIELDS:
        raise InvalidArgument(f"{what} of {datatype} must come as raw contents.")
    field, wide = _FIELDS[datatype]
    for other, _ in contents.ListFields():
        if other.name != field:
            raise InvalidArgument(f"{what} of {datatype} must stand in {field}, not {other.name}.")
    values = getattr(contents, field)
    if len(values) != count:
        raise InvalidArgument(
            f"{what} of {datatype} {list(shape)} must have {count} elements in {field}, "
            f"not {len(values)}."
        )
    if datatype == "BYTES":
        return _objects(values, shape)
    array = np.array(values, wide)
    if wide.itemsize > dtype.itemsize and count:
        bounds = np.iinfo(dtype)
        if array.min() < bounds.min or array.max() > bounds.max:
            bad = array.min() if array.min() < bounds.min else array.max()
            raise InvalidArgument(
                f"{what} of {datatype} must have elements in {bounds.min}..{bounds.max}, not {bad}."
            )
    return array.astype(dtype, copy=False).reshape(shape)


def _dtype(what: str, datatype: str) -> "np.dtype[Any]":
    dtype = DTYPES.get(datatype)
    if dtype is None:
        seen = "BF16, which is not supported" if datatype == "BF16" else repr(datatype)
        raise InvalidArgument(f"{what} must be of datatype {', '.join(DTYPES)}, not {seen}.")
    return dtype


def _count(what: str, shape: Sequence[int], dtype: "np.dtype[Any]") -> int:
    """Elements of a shape that an array can have."""
    count = math.prod(shape)
    is_plain = min(shape, default=1) > 0 and count * dtype.itemsize <= LARGEST_BYTES
    if is_plain and len(shape) <= MOST_DIMENSIONS:
        return count  # nearly every tensor; the rest finds the reason, or a size of 0
    if len(shape) > MOST_DIMENSIONS:
        raise InvalidArgument(
            f"{what} must have at most {MOST_DIMENSIONS} dimensions, not {len(shape)}."
        )
    if any(size < 0 for size in shape):
        raise InvalidArgument(f"{what} must have sizes of at least 0, not {list(shape)}.")
    # Python's integers do not overflow. Beside a 0, other sizes must still be ones NumPy can hold.
    if math.prod(size for size in shape if size) * dtype.itemsize > LARGEST_BYTES:
        raise InvalidArgument(
            f"{what} must have at most {LARGEST_BYTES} bytes, not shape {list(shape)}."
        )
    return math.prod(shape)


def _elements(what: str, count: int, data: bytes) -> list[bytes]:
    """The elements of a raw BYTES tensor, each behind its length."""
    elements: list[bytes] = []
    start = 0
    while start < len(data) and len(elements) < count:
        begin = start + _LENGTH.size
        if begin > len(data):
            raise InvalidArgument(
                f"{what} of BYTES ends inside the length of element {len(elements)}."
            )
        end = begin + _LENGTH.unpack_from(data, start)[0]
        if end > len(data):
            raise InvalidArgument(
                f"{what} of BYTES must have {end - begin} bytes in element {len(elements)}, "
                f"not {len(data) - begin}."
            )
        elements.append(data[begin:end])
        start = end
    if len(elements) != count or start != len(data):
        raise InvalidArgument(
            f"{what} of BYTES must have {count} elements and nothing after them, not "
            f"{len(elements)} and {len(data) - start} bytes."
        )
    return elements


def _objects(elements: Iterable[bytes], shape: Sequence[int]) -> Array:
    items = list(elements)
    array = np.empty(len(items), object)
    array[:] = items
    array.flags.writeable = False
    return array.reshape(shape)
