"""The weights of a training that is done, from the nodes' own copies of their blocks."""

import asyncio

import numpy as np

from training.coded.nodes import Array
from training.coded.peer_plan import Plan
from training.coded.peers import Gone, Peers, Standing
from training.coded.scheme import UNDECODABLE
from training.coded.weight import StateLost

LOOK_AGAIN_S = 0.5


async def collected(plan: Plan, peers: Peers, timeout_s: float = 3600.0) -> list[Array]:
    """Weights [out, in + 1] by layer, whole; waits until enough nodes have done all steps.

    Enough are those that the code needs and one, which tells whether a copy is wrong.

    Raises:
        StateLost: they were not done in time, or their copies do not give the weights.
    """
    steps, enough = plan.recipe.steps, plan.needed
    try:
        async with asyncio.timeout(timeout_s):
            while len(done := await _done(plan, peers)) < enough:  # noqa: ASYNC110 - asked
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        raise StateLost(f"Step {steps} was not reached within {timeout_s:g} s.") from None
    weights = []
    for layer, scheme in enumerate(plan.schemes):
        blocks: dict[int, Array] = {}
        for node in done:
            try:
                rows = [rows async for rows in peers.strips(node, layer, "weight", steps)]
            except (Gone, OSError):
                continue
            blocks[node] = np.concatenate(rows)
        try:
            weights.append(scheme.weight([blocks], steps))
        except UNDECODABLE as error:
            raise StateLost(f"Layer {layer}: {error}") from error
    return weights


async def _done(plan: Plan, peers: Peers) -> list[int]:
    asked = (peers.standing(node) for node in range(plan.count))
    found = await asyncio.gather(*asked, return_exceptions=True)
    return [
        node
        for node, one in enumerate(found)
        if isinstance(one, Standing) and plan.recipe.steps in one.checkpoints
    ]
