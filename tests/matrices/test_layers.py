"""Models whose linear layers are coded products: exact through the gateway, whoever is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import kofn
from codes.polydot import LinearLayers
from kofn.wire.errors import KofnError
from models.programs import export_program
from models.store import Store
from support.cluster import Cluster, cluster
from worker.faults_text import parse_faults

PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(120)  # the first export of a program loads much of torch
LATE = '{"delay": {"law": "constant", "value_ms": 60000, "interruptible": true}}'


class Net(nn.Module):
    """A convolution, two linear layers of sizes that do not divide, and what lies between."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 3, 3)
        self.hidden = nn.Linear(3 * 6 * 6, 31)
        self.last = nn.Linear(31, 10, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[b, 1, 8, 8] to [b, 10]."""
        hidden = self.hidden(self.first(images).relu().flatten(1))
        return self.last(hidden.tanh())


@pytest.fixture(scope="module")
def net() -> Net:
    """The network."""
    return Net().eval()


@pytest.fixture
def deployment(net: Net, tmp_path: Path) -> dict[str, Any]:
    """It, behind the code."""
    archive = tmp_path / "net.pt2"
    archive.write_bytes(export_program(net, torch.zeros(2, 1, 8, 8)))
    return {
        "name": "net",
        "program": str(archive),
        "code": {"name": "polydot", "m": 3, "n": 7},
        "timeout_ms": 60_000,
    }


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 1, 8, 8)).astype(np.float32)


def _truth(net: Net, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(torch.from_numpy(images)).numpy()


def _inject(running: Cluster, number: int, faults: str) -> None:
    running.workers[number].dispatcher.set_faults(parse_faults(faults))


async def test_answers_are_the_models(net: Net, deployment: dict[str, Any], tmp_path: Path) -> None:
    """To rounding, with a straggler and a liar at once; the liar is put away in the end."""
    deployment["policy"] = {"liars": 1}
    store = Store(tmp_path / "store")
    async with (
        cluster(tmp_path, store, [deployment], 7, worker={"drain_s": 0}) as running,
        kofn.AsyncClient(running.master.address) as client,
    ):
        _inject(running, 0, LATE)
        _inject(running, 1, json.dumps({"corruption": {"law": "gaussian", "scale": 3.0}}))
        state = running.master.state
        liar = running.workers[1].address
        for count in (1, 5, 32):
            images = _images(count)
            answers = await client.infer("net", images, timeout_s=PATIENCE_S)
            truth = _truth(net, images)
            np.testing.assert_allclose(answers.outputs, truth, rtol=0, atol=2e-5)
            assert set(answers.source) == {kofn.Source.DECODED}
            assert (answers.expected_error < 1e-4).all()
        assert state.pool.trust.lies(liar) >= 3
        async with _patience():
            while state.pool.trust.standing(liar) != "quarantined":
                await client.infer("net", _images(3), timeout_s=PATIENCE_S)
        shares = state.deployments["net"].shares
        assert shares is not None
        assert liar not in [worker.address for worker in shares.ready().values()]
        status = await client.status()
        assert status.deployments[0].code == "LinearLayers(m=3, n=7)"
        held = await _held(running)
        # Each worker holds one coded part of each layer, and never the model.
        assert held == {f"worker-{i}": (11 * 108 + 4 * 31) * 4 for i in range(7)}
        _inject(running, 0, "")
        await state.undeploy("net", 1.0)
        assert set((await _held(running)).values()) == {0}


async def test_a_worker_that_has_lost_its_shares_gets_them_again(
    net: Net, deployment: dict[str, Any], tmp_path: Path
) -> None:
    """Requests go on meanwhile; another worker takes a lost one's place."""
    images = _images(4)
    async with (
        cluster(tmp_path, Store(tmp_path / "s"), [deployment], 8, worker={"drain_s": 0}) as running,
        kofn.AsyncClient(running.master.address) as client,
    ):
        shares = running.master.state.deployments["net"].shares
        assert shares is not None
        assert len(await shares.enough(7)) == 7
        for worker in shares.ready().values():
            await worker.drop(prefix="net/")
        with pytest.raises(KofnError, match="no-matrix"):
            await client.infer("net", images, timeout_s=PATIENCE_S)
        answers = await client.infer("net", images, timeout_s=PATIENCE_S)
        np.testing.assert_allclose(answers.outputs, _truth(net, images), rtol=0, atol=2e-5)
        gone = shares.ready()[0].address
        (server,) = [one for one in running.workers if one.address == gone]
        await server._server.stop(None)
        async with _patience():
            while gone in [one.address for one in shares.ready().values()]:
                answers = await client.infer("net", images, timeout_s=PATIENCE_S)
        assert len(await shares.enough(7)) == 7
        answers = await client.infer("net", images, timeout_s=PATIENCE_S)
        np.testing.assert_allclose(answers.outputs, _truth(net, images), rtol=0, atol=2e-5)


async def test_too_few_workers_are_told_of(deployment: dict[str, Any], tmp_path: Path) -> None:
    """Before the deadline, with how many are needed."""
    async with (
        cluster(tmp_path, Store(tmp_path / "s"), [deployment], 2) as running,
        kofn.AsyncClient(running.master.address) as client,
    ):
        with pytest.raises(KofnError, match="3 workers with shares of the model are needed"):
            await client.infer("net", _images(1), timeout_s=PATIENCE_S)


def test_one_layer_is_a_code() -> None:
    """Any m results give the answers of a linear layer."""
    code = LinearLayers(m=2, n=5)
    weight = np.random.default_rng(0).standard_normal((6, 4))
    blocks = code.layer.split_weight(weight)
    queries = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 1, 4)))
    shards = code.encode(queries)
    results = [
        shard @ torch.from_numpy(code.layer.weight_share(blocks, slot)).T
        for slot, shard in enumerate(shards)
    ]
    for slots in ((0, 1), (4, 2), (0, 1, 2, 3, 4)):
        answers = code.decode([results[slot] for slot in slots], slots)
        torch.testing.assert_close(answers, queries @ torch.from_numpy(weight).T)
    assert not code.recoverable([3])


def _patience() -> Any:
    import asyncio

    return asyncio.timeout(PATIENCE_S)


async def _held(running: Cluster) -> dict[str, int]:
    """Bytes of matrices by worker."""
    from kofn.matrices.polydot import connected

    async with connected([worker.address for worker in running.workers], None) as stubs:
        told = [await stub.status() for stub in stubs]
    return {status.worker: status.used_bytes for status in told}
