"""Coded training over worker processes, one of which is killed meanwhile."""

import asyncio
from pathlib import Path

import pytest

from kofn.coded import WorkerNodes
from kofn.launch import LocalWorkers
from kofn.matrices.worker import MatrixWorker
from support.until import until
from training.coded.base import CodedPlan, CodedTrained, train_coded
from training.coded.run import CodedRecipe
from training.coded.weight import Policy


@pytest.mark.timeout(180)  # starts five processes, on a machine that is busy
async def test_a_killed_worker_is_replaced_in_mid_training(tmp_path: Path) -> None:
    workers = LocalWorkers(5, flags=("--device", "cpu"))
    recipe = CodedRecipe(steps=12, batch_size=16, momentum=0.9, lr=0.1, checkpoint_every=50)
    plan = CodedPlan(
        options={"hidden": [6]}, dtype="float64", blocks=(2, 1), recipe=recipe,
        policy=Policy(scrub_every=3, history=1),
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    async with workers.running(tmp_path):
        mortal = workers.workers[1]

        def tell(step: int, loss: float) -> None:
            if step == 3:
                asyncio.run_coroutine_threadsafe(workers.kill(mortal.name), loop).result()
            if step == 5:  # goes on without it, and then waits until it is there again
                back = until(lambda: mortal.restarts > 0, 120)
                asyncio.run_coroutine_threadsafe(back, loop).result()
                while 1 not in nodes.versions("layers.1"):
                    pass  # steps are faster than the pause before its channel connects again

        remote = [MatrixWorker(worker.address) for worker in workers.workers]
        nodes = WorkerNodes(remote, loop)

        def train() -> CodedTrained:
            return train_coded(plan, nodes, compare=True, tell=tell)

        try:
            trained = await asyncio.to_thread(train)
            held = await asyncio.to_thread(nodes.versions, "layers.1")
        finally:
            await asyncio.gather(*(worker.close() for worker in remote))
    assert trained.difference is not None
    assert trained.difference < 1e-12
    assert trained.report.repaired >= 2  # a block of each layer
    assert trained.report.rollbacks == 0
    assert set(held.values()) == {12}
