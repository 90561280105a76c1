"""Tensors on the wire: every datatype round trips; what does not fit is refused with numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kofn.wire import worker_pb2
from kofn.wire.errors import InvalidArgument
from kofn.wire.inference_pb2 import InferTensorContents
from kofn.wire.tensors import (
    DTYPES,
    InferInputTensor,
    datatype_of,
    from_wire,
    input_array,
    input_tensor,
    output_array,
    output_tensor,
    to_wire,
)

NUMBERS = [name for name in DTYPES if name != "BYTES"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def arrays(datatype: str) -> st.SearchStrategy[np.ndarray]:
    if datatype == "BYTES":
        elements = st.binary(max_size=9)
        return SHAPES.flatmap(
            lambda shape: st.lists(
                elements, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
            ).map(lambda items: objects(items, shape))
        )
    return hnp.arrays(DTYPES[datatype], SHAPES)


def objects(items: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def same(seen: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to the bit: NaN payloads and signed zeros included."""
    assert seen.shape == expected.shape
    assert seen.dtype == expected.dtype.newbyteorder("<")
    if expected.dtype == object:
        return list(seen.flat) == list(expected.flat)
    return seen.tobytes() == expected.tobytes()


@pytest.mark.parametrize("datatype", DTYPES)
@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_every_datatype_round_trips(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    tensor = worker_pb2.Tensor.FromString(to_wire(array).SerializeToString())
    assert tensor.datatype == datatype
    assert same(from_wire(tensor), array)
    given_in, raw_in = input_tensor("x", array)
    assert same(input_array(given_in, raw_in), array)
    given_out, raw_out = output_tensor("y", array)
    assert (given_out.name, given_out.datatype) == ("y", datatype)
    assert same(output_array(given_out, raw_out), array)


@pytest.mark.parametrize("datatype", FIELDS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_typed_contents_are_read(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    contents = InferTensorContents()
    getattr(contents, FIELDS[datatype]).extend(array.reshape(-1).tolist())
    tensor = InferInputTensor(name="x", datatype=datatype, shape=array.shape, contents=contents)
    seen = input_array(InferInputTensor.FromString(tensor.SerializeToString()), None)
    assert seen.dtype == array.dtype
    np.testing.assert_array_equal(seen, array)


def test_typed_bytes_are_read() -> None:
    contents = InferTensorContents(bytes_contents=[b"a", b"", b"\xff\0", b"d"])
    tensor = InferInputTensor(name="x", datatype="BYTES", shape=[2, 2], contents=contents)
    assert input_array(tensor, None).tolist() == [[b"a", b""], [b"\xff\0", b"d"]]


def test_the_view_is_read_only_and_shares_the_bytes() -> None:
    raw = np.arange(6, dtype=np.float32).tobytes()
    array = input_array(InferInputTensor(name="x", datatype="FP32", shape=[2, 3]), raw)
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))
    assert not array.flags.writeable
    assert not from_wire(to_wire(np.ones(3))).flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.int16)[::-2],
        np.arange(4, dtype=">f8"),
        np.broadcast_to(np.float16(1.5), (2, 3)),
        np.array(7, dtype=np.uint8),
    ],
    ids=["transposed", "strided", "big-endian", "broadcast", "scalar"],
)
def test_any_memory_layout_is_sent_row_by_row(array: np.ndarray) -> None:
    seen = from_wire(to_wire(array))
    np.testing.assert_array_equal(seen, array)
    assert seen.shape == array.shape


def test_text_is_sent_as_bytes() -> None:
    assert from_wire(to_wire(np.array(["ä", "b"]))).tolist() == ["ä".encode(), b"b"]
    assert from_wire(to_wire(np.array([b"a\0", b"b"], object))).tolist() == [b"a\0", b"b"]


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype("M8[s]"), np.dtype("i4,f4")])
def test_a_dtype_without_a_datatype_is_a_type_error(dtype: np.dtype) -> None:
    with pytest.raises(TypeError, match=r"cannot be sent; accepted: bool, uint8"):
        datatype_of(np.zeros(2, dtype))


def test_an_object_that_is_no_bytes_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="must be bytes or str, not 3"):
        to_wire(np.array([b"a", 3], object))


BIG = 2**62
MALFORMED = {
    "short": ("FP32", [2, 3], bytes(23), "Input 'x' of FP32 [2, 3] must have 24 bytes, not 23."),
    "long": ("FP32", [2, 3], bytes(25), "must have 24 bytes, not 25."),
    "empty": ("FP32", [1], b"", "must have 4 bytes, not 0."),
    "scalar": ("INT64", [], bytes(16), "must have 8 bytes, not 16."),
    "bytes beside a zero size": ("UINT8", [0, 3], b"a", "must have 0 bytes, not 1."),
    "variable size": ("FP32", [-1, 3], bytes(12), "sizes of at least 0, not [-1, 3]."),
    "negative twice": ("FP32", [-2, -3], bytes(24), "sizes of at least 0, not [-2, -3]."),
    "huge": ("FP32", [BIG], b"", "must have at most 2147483647 bytes"),
    "product wraps to 0": ("UINT8", [2**32, 2**32], b"", "must have at most 2147483647 bytes"),
    "product wraps to 4": ("UINT8", [2**62 + 1, 4], bytes(4), "must have at most 2147483647"),
    "huge beside a zero": ("UINT8", [0, BIG, BIG], b"", "must have at most 2147483647 bytes"),
    "too many dimensions": ("UINT8", [1] * 33, b"a", "at most 32 dimensions, not 33."),
    "unknown": ("FP8", [1], b"a", "not 'FP8'."),
    "no datatype": ("", [1], b"a", "must be of datatype BOOL, UINT8"),
    "lower case": ("fp32", [1], bytes(4), "not 'fp32'."),
    "BF16": ("BF16", [1], bytes(2), "not BF16, which is not supported."),
    "BOOL of 2": ("BOOL", [2], b"\1\2", "must have bytes of 0 and 1 only."),
    "BYTES cut in a length": ("BYTES", [1], b"\1\0", "ends inside the length of element 0."),
    "BYTES cut in an element": ("BYTES", [1], b"\5\0\0\0ab", "5 bytes in element 0, not 2."),
    "BYTES too few": ("BYTES", [2], b"\1\0\0\0a", "2 elements and nothing after them, not 1 and 0"),
    "BYTES too many": ("BYTES", [1], b"\0\0\0\0" * 2, "not 1 and 4 bytes."),
    "BYTES of a length beyond": ("BYTES", [1], b"\xff\xff\xff\xff", "4294967295 bytes"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_raw_contents_are_refused(case: str) -> None:
    datatype, shape, raw, said = MALFORMED[case]
    with pytest.raises(InvalidArgument) as caught:
        input_array(InferInputTensor(name="x", datatype=datatype, shape=shape), raw)
    assert said in str(caught.value)
    assert str(caught.value).startswith("Input 'x'")
    with pytest.raises(InvalidArgument):
        from_wire(worker_pb2.Tensor(datatype=datatype, shape=shape, data=raw))


@given(
    datatype=st.sampled_from([*DTYPES, "BF16", ""]),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=5),
    raw=st.binary(max_size=40),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_garbage_is_an_array_that_fits_or_refused(
    datatype: str, shape: list[int], raw: bytes
) -> None:
    try:
        array = from_wire(worker_pb2.Tensor(datatype=datatype, shape=shape, data=raw))
    except InvalidArgument:
        return
    assert list(array.shape) == shape
    assert to_wire(array).data == raw


TYPED = {
    "too few": ("FP32", [3], {"fp32_contents": [1, 2]}, "3 elements in fp32_contents, not 2."),
    "too many": ("INT64", [1], {"int64_contents": [1, 2]}, "1 elements in int64_contents, not 2."),
    "wrong field": ("FP32", [1], {"fp64_contents": [1]}, "in fp32_contents, not fp64_contents."),
    "two fields": (
        "INT8",
        [1],
        {"int_contents": [1], "uint_contents": [1]},
        "must stand in int_contents, not uint_contents.",
    ),
    "INT8 above": ("INT8", [2], {"int_contents": [127, 128]}, "in -128..127, not 128."),
    "INT8 below": ("INT8", [2], {"int_contents": [-128, -129]}, "in -128..127, not -129."),
    "INT16 above": ("INT16", [1], {"int_contents": [32768]}, "in -32768..32767, not 32768."),
    "UINT8 above": ("UINT8", [2], {"uint_contents": [255, 256]}, "in 0..255, not 256."),
    "UINT16 above": ("UINT16", [1], {"uint_contents": [65536]}, "in 0..65535, not 65536."),
    "FP16": ("FP16", [1], {"fp32_contents": [1]}, "of FP16 must come as raw contents."),
    "BF16": ("BF16", [1], {"fp32_contents": [1]}, "not BF16, which is not supported."),
    "negative": ("FP32", [-1], {"fp32_contents": [1]}, "sizes of at least 0"),
    "overflow": ("FP32", [2**63 - 1, 2], {"fp32_contents": [1]}, "must have at most"),
    "none": ("FP32", [1], {}, "1 elements in fp32_contents, not 0."),
}


@pytest.mark.parametrize("case", TYPED)
def test_malformed_typed_contents_are_refused(case: str) -> None:
    datatype, shape, fields, said = TYPED[case]
    contents = InferTensorContents(**fields)
    tensor = InferInputTensor(name="x", datatype=datatype, shape=shape, contents=contents)
    with pytest.raises(InvalidArgument) as caught:
        input_array(tensor, None)
    assert said in str(caught.value)


def test_raw_and_typed_contents_at_once_are_refused() -> None:
    contents = InferTensorContents(fp32_contents=[1])
    tensor = InferInputTensor(name="x", datatype="FP32", shape=[1], contents=contents)
    with pytest.raises(InvalidArgument, match="raw contents or typed contents, not both"):
        input_array(tensor, bytes(4))


def test_empty_typed_contents_beside_raw_ones_are_none() -> None:
    """As MLServer's converters send them."""
    tensor = InferInputTensor(name="x", datatype="FP32", shape=[1], contents=InferTensorContents())
    assert tensor.HasField("contents")
    assert input_array(tensor, bytes(4)).tolist() == [0.0]


def test_neither_raw_nor_typed_contents_are_no_elements() -> None:
    tensor = InferInputTensor(name="x", datatype="FP32", shape=[0, 3])
    assert input_array(tensor, None).shape == (0, 3)
