"""The service `Matrices`, whose chunks travel without the copies that protobuf makes of bytes.

On the wire nothing differs: a message that holds nothing but `data` is a tag, a length, and the
bytes. Such a message is a `Chunk` here, on both sides; all others are what protobuf makes of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kofn.wire import matrices_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["Matrices"]
DATA = pb.PutMessage.DATA_FIELD_NUMBER  # of all messages that carry chunks
TAG = DATA << 3 | 2  # as protobuf encodes it: the field's number, and that a length follows
LONGEST_HEAD = 6  # a tag and the length of all that gRPC carries


@dataclass(frozen=True)
class Chunk:
    """A message that holds some bytes of a matrix and nothing else."""

    data: memoryview


class MatricesStub:
    """The methods of `Matrices` over a channel, by name; chunks come as `Chunk`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        for method in SERVICE.methods:
            call = getattr(channel, _kind(method))(
                f"/{SERVICE.full_name}/{method.name}",
                request_serializer=serialized,
                response_deserializer=_parser(method.output_type),
            )
            setattr(self, method.name, call)


def add_to_server(servicer: Any, server: grpc.aio.Server) -> None:
    """Have a server offer the methods of a servicer, to whom chunks come as `Chunk`."""
    handlers = {
        method.name: getattr(grpc, f"{_kind(method)}_rpc_method_handler")(
            getattr(servicer, method.name),
            request_deserializer=_parser(method.input_type),
            response_serializer=serialized,
        )
        for method in SERVICE.methods
    }
    generic = grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)
    server.add_generic_rpc_handlers((generic,))


def serialized(message: Message | Chunk) -> bytes:
    """A message's bytes; those of a chunk are copied once."""
    if not isinstance(message, Chunk):
        return message.SerializeToString()
    return b"".join((_before(message.data.nbytes), message.data))


def parsed(kind: type[Message], data: bytes) -> Message | Chunk:
    """The message of these bytes; a chunk's stay where they are.

    Raises:
        DecodeError: they are none of this kind.
    """
    if data[:1] == bytes([TAG]) and "data" in kind.DESCRIPTOR.fields_by_name:
        for at in range(2, min(len(data), LONGEST_HEAD) + 1):
            if data[:at] == _before(len(data) - at):
                return Chunk(memoryview(data)[at:])
    return kind.FromString(data)


def _before(size: int) -> bytes:
    """What stands before so many bytes: the tag, and the size, 7 bits a byte, lowest first."""
    head = bytearray([TAG])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


def _parser(descriptor: Descriptor) -> Callable[[bytes], Message | Chunk]:
    return partial(parsed, GetMessageClass(descriptor))


def _kind(method: MethodDescriptor) -> str:
    sides = (method.client_streaming, method.server_streaming)
    return "_".join("stream" if is_stream else "unary" for is_stream in sides)
