"""Coded training over real workers, in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kofn.coded import Report, StateLost, WorkerNodes
from kofn.matrices.worker import MatrixWorker
from training.coded import CodedWeight, Policy, Rule, spread
from training.coded.nodes import Array
from worker.config import WorkerConfig
from worker.server import WorkerServer

Start = Callable[..., Awaitable[list[WorkerServer]]]
Inject = Callable[..., None]
NODES, ROWS, COLUMNS, BATCH = 12, 18, 11, 16
RULE = Rule(lr=0.1, momentum=0.9, weight_decay=0.01)
WRONG = (
    '{{"seed": 3, "corruption": {{"law": "{law}", "probability": {rate}, '
    '"update_probability": {update}}}}}'
)


def drawn(shape: tuple[int, int], seed: int, dtype: str) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def trained(
    nodes: WorkerNodes,
    steps: int,
    dtype: str,
    blocks: tuple[int, int],
    between: Callable[[int], None] = lambda step: None,
) -> tuple[float, Report]:
    """Steps by nodes and by NumPy; how far the weights are apart. Blocking."""
    report = Report()
    scheme = spread(NODES, *blocks)(ROWS, COLUMNS, np.dtype(dtype))
    weight = CodedWeight("layer", scheme, nodes, Policy(scrub_every=4), report)
    plain = drawn((ROWS, COLUMNS), 1, dtype)
    velocity = np.zeros_like(plain)
    weight.place(plain)
    for step in range(steps):
        between(step)
        activation = drawn((COLUMNS, BATCH), 100 + step, dtype)
        signal = np.tanh(weight.forward(activation)) / BATCH
        weight.backward(signal)
        weight.update(activation, signal, RULE)
        gradient = np.tanh(plain @ activation) / BATCH @ activation.T + RULE.weight_decay * plain
        velocity = RULE.momentum * velocity + gradient
        plain = plain - RULE.lr * velocity
        if step == steps // 2:
            weight.keep()
            weight.restore(weight.version)
    found = weight.decoded()
    return float(np.linalg.norm(found - plain) / np.linalg.norm(plain)), report


class Over:
    """Workers of this process as nodes; their channels are closed at the end."""

    def __init__(self, servers: list[WorkerServer]) -> None:
        self._workers = [MatrixWorker(server.address) for server in servers]

    async def __aenter__(self) -> WorkerNodes:
        return WorkerNodes(self._workers, asyncio.get_running_loop())

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))


@pytest.mark.parametrize(
    ("dtype", "blocks", "law", "limit"),
    [
        ("float64", (4, 1), "gaussian", 1e-12),
        ("float32", (4, 1), "bit-flip", 5e-5),
        ("float64", (2, 2), "sign-flip", 1e-12),
    ],
)
async def test_wrong_products_and_wrong_steps_leave_no_trace(
    dtype: str, blocks: tuple[int, int], law: str, limit: float, start: Start, inject: Inject
) -> None:
    servers = await start(NODES)
    inject(servers, WRONG.format(law=law, rate=0.15, update=0.02))
    async with Over(servers) as nodes:
        apart, report = await asyncio.to_thread(trained, nodes, 8, dtype, blocks)
    assert apart < limit
    assert report.located > 0
    assert report.rollbacks == 0


async def test_a_worker_that_starts_empty_gets_its_block_from_the_others(
    start: Start, tmp_path: Path
) -> None:
    servers = await start(NODES - 1)
    told: dict[str, Any] = {"name": "mortal", "cache": tmp_path, "drain_s": 0}
    config = WorkerConfig.model_validate({**told, "port": 0})
    mortal = WorkerServer(config)
    await mortal.__aenter__()
    port = int(mortal.address.rpartition(":")[2])
    again = WorkerServer(config.model_copy(update={"port": port}))
    loop = asyncio.get_running_loop()

    def between(step: int) -> None:
        if step == 2:
            asyncio.run_coroutine_threadsafe(mortal.__aexit__(None, None, None), loop).result()
        if step == 5:
            asyncio.run_coroutine_threadsafe(again.__aenter__(), loop).result()

    try:
        async with Over([*servers, mortal]) as nodes:
            apart, report = await asyncio.to_thread(trained, nodes, 12, "float64", (4, 1), between)
            versions = await asyncio.to_thread(nodes.versions, "layer")
    finally:
        await again.__aexit__(None, None, None)
    assert apart < 1e-12
    assert report.repaired >= 1
    assert versions == dict.fromkeys(range(NODES), 12)


async def test_too_few_workers_are_a_loss(start: Start) -> None:
    servers = await start(5)  # of twelve: the backward pass needs seven
    gone = [MatrixWorker("127.0.0.1:1") for _ in range(NODES - 5)]
    workers = [MatrixWorker(server.address) for server in servers] + gone
    nodes = WorkerNodes(workers, asyncio.get_running_loop())
    scheme = spread(NODES, 4)(ROWS, COLUMNS, np.dtype("float64"))
    weight = CodedWeight("layer", scheme, nodes, Policy(retries=0))

    def work() -> None:
        weight.place(drawn((ROWS, COLUMNS), 1, "float64"))
        weight.forward(drawn((COLUMNS, BATCH), 2, "float64"))  # four do
        with pytest.raises(StateLost, match="any 7 slots"):
            weight.backward(drawn((ROWS, BATCH), 3, "float64"))

    try:
        await asyncio.to_thread(work)
    finally:
        await asyncio.gather(*(worker.close() for worker in workers))
