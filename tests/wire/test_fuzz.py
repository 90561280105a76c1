"""Requests that no client would send: no crash, no hang, and the next good request is served."""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from torch import nn

import kofn
from bench.fuzz.shots import (
    CONTROL,
    HEALTH,
    INFERENCE,
    MATRICES,
    PRODUCTS,
    REFLECTION,
    WORKER,
    Shot,
    Target,
    fire,
    shots,
    volley,
)
from kofn.wire import channels
from kofn.wire import inference_pb2 as pb
from models.programs import content_hash, export_program
from models.store import Store
from support.cluster import cluster

CALLS = 10_000
SHAPE = (3,)
PATIENCE_S = 20.0
VOLLEY = 100  # calls between two good requests


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x


@pytest.fixture(scope="module")
def target() -> Target:
    archive = export_program(Doubled(), torch.zeros(2, *SHAPE))
    return Target("doubled", "input", SHAPE, content_hash(archive), archive)


@dataclass
class Range:
    """A cluster to fire at."""

    target: Target
    channels: dict[str, grpc.aio.Channel]
    client: kofn.AsyncClient

    async def ask(self, seed: int) -> None:
        """A good request is answered, and right; faults that were fuzzed in are cleared before."""
        await self.client.set_faults(None, timeout_s=PATIENCE_S)
        rows = np.random.default_rng(seed).random((2, *SHAPE), np.float32)
        answers = await self.client.infer("doubled", rows, timeout_s=PATIENCE_S)
        np.testing.assert_allclose(answers.outputs, 2 * rows, rtol=1e-4, atol=1e-5)


@pytest.fixture
async def under_fire(target: Target, tmp_path: Path) -> AsyncIterator[Range]:
    program = tmp_path / "doubled.pt2"
    program.write_bytes(target.archive)
    deployment = {
        "name": "doubled",
        "program": str(program),
        "code": {"name": "parity", "k": 2, "n": 3},
    }
    async with cluster(tmp_path, Store(tmp_path / "store"), [deployment], workers=3) as running:
        addresses = {"master": running.master.address, "worker": running.workers[0].address}
        opened = {name: channels.client_channel(at) for name, at in addresses.items()}
        async with kofn.AsyncClient(running.master.address) as client:
            yield Range(target, opened, client)
        for channel in opened.values():
            await channel.close()


@pytest.mark.timeout(240)  # seconds on an idle machine
@pytest.mark.parametrize("seed", range(4))
async def test_ten_thousand_calls(
    under_fire: Range, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A quarter of them each: refused or served, in time, as foreseen; then all is well."""
    aimed = shots(under_fire.target, seed)
    ended: Counter[str] = Counter()
    for number in range(CALLS // 4 // VOLLEY):
        with caplog.at_level(logging.ERROR):
            outcomes = await volley(under_fire.channels, islice(aimed, VOLLEY))
        assert [outcome.wrong for outcome in outcomes if outcome.wrong] == []
        assert [record.getMessage() for record in caplog.records] == []
        ended.update(outcome.status for outcome in outcomes)
        await under_fire.ask(number)
    for status in ("OK", "INVALID_ARGUMENT", "NOT_FOUND"):  # some got through, others nearly
        assert ended[status] > 0.05 * CALLS / 4, ended


def test_every_method_is_fired_at(target: Target) -> None:
    """Those of the services, of health and of reflection, and the same ones for a seed."""
    some = list(islice(shots(target, 0), 5000))
    assert {shot.path for shot in some} == {
        f"/{service.full_name}/{method.name}"
        for service in (INFERENCE, PRODUCTS, CONTROL, WORKER, MATRICES, HEALTH, REFLECTION)
        for method in service.methods
    }
    assert some[:200] == list(islice(shots(target, 0), 200))


async def test_bytes_that_are_no_message(
    under_fire: Range, caplog: pytest.LogCaptureFixture
) -> None:
    """INVALID_ARGUMENT, on every kind of method, and no traceback in the log."""
    for service, path in (
        ("master", "/inference.GRPCInferenceService/ModelInfer"),
        ("master", "/inference.GRPCInferenceService/ModelStreamInfer"),
        ("master", "/kofn.control.v1.Control/WatchEvents"),
        ("master", "/grpc.health.v1.Health/List"),
        ("worker", "/kofn.worker.v1.Worker/Work"),
        ("worker", "/kofn.worker.v1.Worker/PushProgram"),
    ):
        shot = Shot(service, path, (b"\xff\xff",))
        assert (await fire(under_fire.channels[service], shot)).status == "INVALID_ARGUMENT", path
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_good_requests_before_bad_bytes_are_answered(under_fire: Range) -> None:
    """On a stream, which the bad bytes end."""
    good = under_fire.target.request(np.ones((1, *SHAPE), np.float32)).SerializeToString()
    path = "/inference.GRPCInferenceService/ModelStreamInfer"
    call = under_fire.channels["master"].stream_stream(path)(iter((good, good, b"\xff")))
    replies = [pb.ModelStreamInferResponse.FromString(await call.read()) for _ in range(2)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [reply.error_message for reply in replies] == ["", ""]
