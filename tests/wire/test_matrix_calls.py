"""Chunks of matrices on the wire: the bytes are those of protobuf, both ways."""

import pytest
from google.protobuf.message import DecodeError

from kofn.wire import matrices_pb2 as pb
from kofn.wire.matrix_calls import Chunk, parsed, serialized

KINDS = (pb.PutMessage, pb.MultiplyMessage, pb.UpdateMessage, pb.MatrixMessage)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21])
def test_a_chunk_is_a_message_with_data_alone(kind: type, size: int) -> None:
    """Lengths of one to four bytes; what is read copies nothing."""
    data = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    sent = serialized(Chunk(memoryview(data)))
    assert sent == kind(data=data).SerializeToString()
    read = parsed(kind, sent)
    assert isinstance(read, Chunk)
    assert read.data == data
    assert read.data.obj is sent


def test_other_messages_are_protobufs() -> None:
    """Those without data, and those with more than it."""
    put = pb.PutMessage(put=pb.PutMatrix(matrix=pb.MatrixRef(name="a")))
    assert parsed(pb.PutMessage, serialized(put)) == put
    twice = pb.PutMessage(data=b"first").SerializeToString() * 2
    assert parsed(pb.PutMessage, twice) == pb.PutMessage(data=b"first")
    reply = pb.DropRequest(prefix="abc")  # its second field is no chunk
    assert parsed(pb.DropRequest, serialized(reply)) == reply
    with pytest.raises(DecodeError):
        parsed(pb.PutMessage, pb.PutMessage(data=b"cut off").SerializeToString()[:-1])
