"""Workers that do nothing: they answer each task at once with a result of the right size.

`python -m bench.echo` hosts some of them in one process, over the worker protocol and over plain
sockets, so that `overhead` measures the master and the transport and not the networks.
"""

import argparse
import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np

from kofn.wire import channels, worker_pb2, worker_pb2_grpc
from kofn.wire.tensors import to_wire

PROGRAM = "0" * 64  # what these workers claim to hold
HEADER = struct.Struct("<I")  # length of what follows, on plain sockets


class EchoWorker(worker_pb2_grpc.WorkerServicer):  # type: ignore[misc]
    """Answers every task with zeros of [g, answer]."""

    def __init__(self, name: str, answer: int) -> None:
        self._name = name
        self._answer = answer

    async def Work(
        self,
        messages: AsyncIterator[worker_pb2.ToWorker],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> AsyncIterator[worker_pb2.FromWorker]:
        """One stream."""
        greeting = worker_pb2.Greeting(worker=self._name, device="none", programs=[PROGRAM])
        yield worker_pb2.FromWorker(greeting=greeting)
        async for message in messages:
            if message.HasField("task"):
                groups = message.task.inputs[0].shape[0]
                zeros = to_wire(np.zeros((groups, self._answer), np.float32))
                yield worker_pb2.FromWorker(
                    result=worker_pb2.Result(
                        id=message.task.id, outputs=[zeros], program=message.task.program
                    )
                )


async def answer_socket(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, result_bytes: int
) -> None:
    """Read length-prefixed payloads, send back `result_bytes` zeros for each."""
    reply = HEADER.pack(result_bytes) + bytes(result_bytes)
    try:
        while True:
            (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
            await reader.readexactly(length)
            writer.write(reply)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def serve(count: int, first: int, answer: int, groups: int) -> None:
    """Host `count` workers on free ports; print their addresses; end with standard input."""
    servers, addresses = [], []
    for number in range(first, first + count):
        server = channels.server()
        worker_pb2_grpc.add_WorkerServicer_to_server(EchoWorker(f"echo-{number}", answer), server)
        addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        await server.start()
        servers.append(server)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_socket(reader, writer, 4 * answer * groups)

    plain = await asyncio.start_server(accepted, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    print(json.dumps({"workers": addresses, "socket": port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # the parent's end closes it
    for server in servers:
        await server.stop(None)
    plain.close()


def main() -> None:
    """Command line of the hosting process."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("count", "first", "answer", "groups"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    channels.tune_malloc()
    asyncio.run(serve(given.count, given.first, given.answer, given.groups))


if __name__ == "__main__":
    main()
