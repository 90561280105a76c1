"""Queries without end at a cluster whose workers come and go, and what its master tells of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

import kofn

ROWS = 4
REQUEST_S = 60.0  # a busy machine starts ten workers beside the load
PACE_S = 0.1  # between a client's requests: new workers need the cores, too
PATIENCE_S = 300.0


@asynccontextmanager
async def load(
    client: kofn.AsyncClient, images: np.ndarray, truth: np.ndarray
) -> AsyncIterator[list[int]]:
    """Queries all the time, from two clients; every one must be answered, and rightly.

    Yields:
        Numbers of the requests that were answered so far.
    """
    answered: list[int] = []
    is_over = asyncio.Event()

    async def ask(first: int) -> None:
        for number in itertools.count(first, 2):
            if is_over.is_set():
                return
            rows = np.arange(number * ROWS, (number + 1) * ROWS) % len(images)
            answers = await client.infer("digits", images[rows], timeout_s=REQUEST_S)
            direct = answers.source == kofn.Source.DIRECT
            assert len(answers) == ROWS
            assert (answers.source != kofn.Source.MISSING).all()
            given, wanted = answers.outputs[direct], truth[rows[direct]]
            np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)
            answered.append(number)
            await asyncio.sleep(PACE_S)

    async with asyncio.TaskGroup() as group:
        for first in range(2):
            group.create_task(ask(first), name=f"load {first}")
        try:
            yield answered
        finally:
            is_over.set()
    assert len(answered) == len(set(answered)) > 0


async def more(answered: list[int], count: int = 20) -> None:
    """Return once so many more requests have been answered."""
    enough = len(answered) + count
    async with asyncio.timeout(PATIENCE_S):
        while len(answered) < enough:  # noqa: ASYNC110 - looked at now and then, beside the load
            await asyncio.sleep(0.2)


async def workers_up(client: kofn.AsyncClient, count: int) -> None:
    """Return once exactly so many workers may be sent work."""
    await _told(client, lambda workers: sum(w.state == "up" for w in workers) == count)


async def known(client: kofn.AsyncClient, count: int) -> None:
    """Return once the master has forgotten workers that are gone for good."""
    await _told(client, lambda workers: len(workers) == count)


async def _told(client: kofn.AsyncClient, is_so: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so((await client.status()).workers):  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.2)
