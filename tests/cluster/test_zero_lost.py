"""No answer is lost while workers are killed and come back: the promise of the whole system."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kofn
from kofn.launch import Cluster, LocalWorkers
from models import data

QUERIES = int(os.environ.get("KOFN_ZERO_LOST_QUERIES", "2000"))
ROWS = 4  # queries of a request
RATE = 250.0  # queries a second
KILL_EVERY_S = 2.0
K, N = 4, 6
REQUEST_S = 10.0

pytestmark = pytest.mark.timeout(120 + 2 * QUERIES / RATE)


async def test_every_query_is_answered_once_while_workers_die(
    digits_store: Any, digits_program: Any
) -> None:
    """Steady load, a kill every 2 s, never more than n - R workers down: no error, none twice."""
    images = data.load("digits", "test").images
    truth = digits_program([images])[0].numpy()
    deployment = {
        "name": "digits",
        "program": "digits-mlp",
        "code": {"name": "parity", "k": K, "n": N, "calibrated": True},
    }
    died: list[str] = []
    async with (
        Cluster(
            LocalWorkers(N, on_death=lambda name, status: died.append(name)),
            [deployment],
            store=digits_store.root,
        ) as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        rows = np.arange(QUERIES) % len(images)
        killing = asyncio.create_task(_keep_killing(cluster, client), name="kill")
        try:
            replies = await asyncio.gather(
                *(
                    _ask(client, images.numpy()[rows[start : start + ROWS]], start)
                    for start in range(0, QUERIES, ROWS)
                )
            )
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        (told,) = (await client.status()).deployments

    answered = [number for number, _ in replies]
    assert answered == list(range(0, QUERIES, ROWS))
    source = np.concatenate([answers.source for _, answers in replies])
    outputs = np.concatenate([answers.outputs for _, answers in replies])
    assert len(outputs) == QUERIES
    assert (source != kofn.Source.MISSING).all()
    direct = source == kofn.Source.DIRECT
    np.testing.assert_allclose(outputs[direct], truth[rows[direct]], rtol=1e-4, atol=1e-4)
    assert np.isfinite(outputs).all()
    assert (told.answered_rows, told.failed_rows) == (QUERIES, 0), "a row was counted twice"
    assert len(died) >= QUERIES / RATE / KILL_EVERY_S / 2, "too few workers died to prove anything"


async def _ask(
    client: kofn.AsyncClient, images: np.ndarray, number: int
) -> tuple[int, kofn.Answers]:
    await asyncio.sleep(number / RATE)  # its time on the schedule of the load
    return number, await client.infer("digits", images, timeout_s=REQUEST_S)


async def _keep_killing(cluster: Cluster, client: kofn.AsyncClient) -> None:
    """Kill the next worker every 2 s, unless n - R are down already."""
    victims: Iterator[str] = itertools.cycle([worker.name for worker in cluster.workers])
    while True:
        await asyncio.sleep(KILL_EVERY_S)
        up = sum(worker.state == "up" for worker in (await client.status()).workers)
        if N - up < N - K:
            await cluster.kill(next(victims))
