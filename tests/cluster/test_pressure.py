"""Callers that send too much or read too little: what they cost, and that others are served."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from torch import nn

import kofn
from kofn.wire import channels, control_pb2
from kofn.wire import inference_pb2 as pb
from kofn.wire.tensors import input_tensor
from master.gateway import STREAM_LIMIT
from master.state import EVENT_BACKLOG
from models.programs import export_program
from models.store import Store
from support.cluster import Cluster, cluster
from support.until import until

WIDTH = 65_536  # numbers in a query: 256 KiB
ROWS = 200  # of a message of 50 MiB
PATIENCE_S = 60.0
# What gRPC's own windows hold for one who does not read, beyond what we hold: some MiB.
IN_WINDOWS_BYTES = 24 * 2**20


class Halves(nn.Module):
    """Sums of both halves, and the query behind them: replies as large as requests."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :2] + x[:, 2:4], x], dim=1)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("programs") / "halves.pt2"
    path.write_bytes(export_program(Halves(), torch.zeros(2, WIDTH)))
    return {
        "name": "halves",
        "program": str(path),
        "code": {"name": "replication", "k": 1, "n": 1},
        "timeout_ms": 60_000,
    }


@pytest.fixture
async def running(deployment: dict[str, Any], tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, Store(tmp_path / "store"), [deployment], workers=2) as running:
        yield running


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, WIDTH), np.float32)


async def is_served(client: kofn.AsyncClient) -> None:
    """A small request is answered, and right."""
    asked = rows(1)
    answers = await client.infer("halves", asked, timeout_s=PATIENCE_S)
    np.testing.assert_array_equal(answers.outputs[:, 2:], asked)


async def test_a_message_of_50_mib(running: Cluster) -> None:
    """Both ways."""
    asked = rows(ROWS)
    assert asked.nbytes == 50 * 2**20
    async with kofn.AsyncClient(running.master.address) as client:
        answers = await client.infer("halves", asked, timeout_s=PATIENCE_S)
        np.testing.assert_array_equal(answers.outputs[:, 2:], asked)


async def test_a_message_over_the_limit(deployment: dict[str, Any], tmp_path: Path) -> None:
    """Refused by a master that takes less, and by a client that sends less; the next is served."""
    store = Store(tmp_path / "store")
    async with cluster(
        tmp_path, store, [deployment], workers=1, server={"max_message_mb": 32}
    ) as running:
        for limit_mb in (64, 32):
            async with kofn.AsyncClient(running.master.address, max_message_mb=limit_mb) as client:
                with pytest.raises(kofn.ResourceExhausted, match="max_message_mb"):
                    await client.infer("halves", rows(ROWS), timeout_s=PATIENCE_S)
                await is_served(client)


async def test_a_stream_whose_replies_nobody_reads(running: Cluster) -> None:
    """It is not read either, past a limit; others are served; nothing of it is lost."""
    count = 4 * STREAM_LIMIT
    sent = 0
    tensor, raw = input_tensor("input", rows(1))
    request = pb.ModelInferRequest(
        model_name="halves", inputs=[tensor], raw_input_contents=[raw]
    ).SerializeToString()

    async def requests() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(count):
            sent += 1
            yield request

    async with (
        channels.client_channel(running.master.address) as channel,
        kofn.AsyncClient(running.master.address) as client,
    ):
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        call = stream(requests(), timeout=PATIENCE_S)
        answered = running.master.state.deployments["halves"].statistics.rows
        await until(lambda: sum(answered.values()) >= STREAM_LIMIT, timeout_s=PATIENCE_S)
        for _ in range(20):
            await is_served(client)
        taken = sum(answered.values()) - 20
        assert taken <= STREAM_LIMIT + IN_WINDOWS_BYTES // len(request) + 1
        assert sent < count
        replies = [pb.ModelStreamInferResponse.FromString(reply) async for reply in call]
    assert [reply.error_message for reply in replies] == [""] * count


async def test_events_that_nobody_reads(running: Cluster) -> None:
    """Whoever does not listen is let go; who does hears everything."""
    events = running.master.state.events
    detail = "x" * 20_000
    count = EVENT_BACKLOG + IN_WINDOWS_BYTES // len(detail)
    heard: list[control_pb2.Event] = []

    async def listen(client: kofn.AsyncClient) -> None:
        async for event in client.events():
            heard.append(event)  # noqa: PERF401 - counted meanwhile

    async with (
        channels.client_channel(running.master.address) as channel,
        kofn.AsyncClient(running.master.address) as client,
    ):
        deaf = channel.unary_stream("/kofn.control.v1.Control/WatchEvents")(b"")
        listening = asyncio.create_task(listen(client), name="listen")
        await until(lambda: len(events.watchers) == 2, timeout_s=PATIENCE_S)
        for number in range(count):
            events.tell("test", str(number), detail)
            if number % 100 == 0:
                await until(lambda so_far=number: len(heard) > so_far, timeout_s=PATIENCE_S)
        await until(lambda: len(heard) == count, timeout_s=PATIENCE_S)
        assert len(events.watchers) == 1
        await is_served(client)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        left = 0
        while await deaf.read() is not grpc.aio.EOF:  # what was on its way, then the end
            left += 1
        assert EVENT_BACKLOG <= left < count
