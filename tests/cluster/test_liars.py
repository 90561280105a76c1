"""Workers that lie by the injector's laws: no answer shows it, and they are found out."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kofn
from models import data
from models.programs import load_program
from models.store import Store
from support.cluster import cluster
from training.base import train_and_store

PATIENCE_S = 60.0
LAWS: tuple[dict[str, Any], ...] = (
    {"law": "sign-flip"},
    {"law": "gaussian", "scale": 10.0},
    {"law": "swap"},
    {"law": "bit-flip"},
)
K, SLOTS = 3, 7  # of degree 2: R = 5, and two more against one liar

pytestmark = pytest.mark.timeout(120)


async def test_a_quadratic_network_is_exact_though_a_worker_lies(
    digits_store: Store, tmp_path: Path
) -> None:
    """Each law in turn, on a worker of its own: every answer to 1e-3, the liar is put away."""
    options = {"hidden": (16,), "activation": "square"}
    train_and_store(
        "digits", "mlp", store=digits_store, name="liars-squares", epochs=2, options=options
    )
    images = data.load("digits", "test").images
    truth = load_program(digits_store.archive("liars-squares"))([images])[0].numpy()
    deployment = {
        "name": "squares",
        "program": "liars-squares",
        "code": {"name": "lagrange", "k": K, "n": SLOTS, "degree": 2},
        "policy": {"wait": "first", "liars": 1},
        "timeout_ms": 10_000,
    }
    told: list[tuple[str, str]] = []
    async with (
        cluster(tmp_path, digits_store, [deployment], SLOTS + len(LAWS)) as live,
        kofn.AsyncClient(live.master.address) as client,
    ):
        assert await live.master.state.pool.wait_for_workers(SLOTS + len(LAWS), PATIENCE_S)
        listening = asyncio.create_task(_listen(client, told))
        try:
            for liar, law in enumerate(LAWS):
                await client.set_faults({"corruption": law}, [f"worker-{liar}"])
                seen = await _worker(client, f"worker-{liar}")
                async with asyncio.timeout(PATIENCE_S):
                    while seen.state != "quarantined":
                        answers = await client.infer("squares", images.numpy())
                        np.testing.assert_allclose(answers.outputs, truth, rtol=0, atol=1e-3)
                        seen = await _worker(client, f"worker-{liar}")
                assert seen.lies >= 3, law
                assert seen.trust < 0.5, law
                # It goes on lying, but nobody asks it: what it had to do is done.
                await client.infer("squares", images.numpy())
                assert (await _worker(client, f"worker-{liar}")).results <= seen.results + 8, law
            status = await client.status()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    honest = [worker for worker in status.workers if worker.state == "up"]
    assert len(honest) == SLOTS
    assert all(worker.trust == 1.0 and worker.lies == 0 for worker in honest)
    assert status.deployments[0].failed_rows == 0
    quarantined = [name for kind, name in told if kind == "worker-quarantined"]
    assert quarantined == [f"worker-{liar}" for liar in range(len(LAWS))]


async def test_an_approximate_code_finds_its_liar(digits_store: Store, tmp_path: Path) -> None:
    """Calibrated Berrut: accuracy as without a liar, who is put away; nobody else is."""
    test = data.load("digits", "test")
    images, labels = test.images.numpy(), test.labels.numpy()
    deployment = {
        "name": "digits",
        "program": "digits-mlp",
        "code": {"name": "berrut", "k": 4, "n": 10, "calibrated": True},
        "policy": {"wait": "all", "liars": 1},
        "timeout_ms": 10_000,
    }
    async with (
        cluster(tmp_path, digits_store, [deployment], 11) as live,
        kofn.AsyncClient(live.master.address) as client,
    ):
        assert await live.master.state.pool.wait_for_workers(11, PATIENCE_S)
        honest = (await client.infer("digits", images)).outputs.argmax(1) == labels
        await client.set_faults({"corruption": {"law": "sign-flip"}}, ["worker-3"])
        right: list[np.ndarray] = []
        async with asyncio.timeout(PATIENCE_S):
            while (await _worker(client, "worker-3")).state != "quarantined":
                answers = await client.infer("digits", images)
                right.append(answers.outputs.argmax(1) == labels)
        workers = (await client.status()).workers
    assert np.mean(right) > honest.mean() - 0.01
    assert [worker.name for worker in workers if worker.state == "quarantined"] == ["worker-3"]
    assert all(worker.trust > 0.5 for worker in workers if worker.name != "worker-3")


async def _worker(client: kofn.AsyncClient, name: str) -> Any:
    return next(worker for worker in (await client.status()).workers if worker.name == name)


async def _listen(client: kofn.AsyncClient, told: list[tuple[str, str]]) -> None:
    async for event in client.events():
        told += [(event.kind, event.subject)]
