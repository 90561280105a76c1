"""Has the workers of a cluster inject faults while a load lasts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

import kofn
from bench.sweep.text import ContentionText
from worker.faults_text import FaultsText


@asynccontextmanager
async def disturbed(
    client: kofn.AsyncClient,
    straggler: FaultsText | ContentionText,
    workers: Sequence[str],
    seed: int,
) -> AsyncIterator[None]:
    """While the context lasts these workers inject faults; what they inject at its end stays.

    Args:
        client: of their master.
        straggler: what; its seed is not used.
        seed: of all draws.

    Raises:
        Unavailable: a worker did not take its faults.
    """
    if isinstance(straggler, FaultsText):
        await set_faults(client, straggler.model_copy(update={"seed": seed}), workers)
        yield
        return
    contended = straggler.contended.model_copy(update={"seed": seed})
    otherwise = straggler.otherwise.model_copy(update={"seed": seed})
    rng = np.random.default_rng([seed, 2])
    chosen = set(rng.choice(workers, straggler.workers, replace=False).tolist())
    await set_faults(client, otherwise, sorted(set(workers) - chosen))
    await set_faults(client, contended, sorted(chosen))

    async def move() -> None:
        now = chosen
        while True:
            await asyncio.sleep(straggler.every_s)
            following = set(rng.choice(workers, straggler.workers, replace=False).tolist())
            await set_faults(client, otherwise, sorted(now - following))
            await set_faults(client, contended, sorted(following - now))
            now = following

    moving = asyncio.create_task(move(), name="contention")
    try:
        yield
        if moving.done():
            moving.result()  # raises what ended it
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)


async def set_faults(client: kofn.AsyncClient, faults: FaultsText, workers: Sequence[str]) -> None:
    """Have workers inject these; raises Unavailable when one does not take them."""
    if not workers:
        return  # to name none would be to name all
    reply = await client.set_faults(faults.json_text(), workers)
    for told in reply.workers:
        if told.error:
            raise kofn.Unavailable(f"{told.worker} did not take its faults: {told.error}")
