"""How a node that has fallen behind, or has nothing, gets from its peers what it lacks."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import numpy as np

from training.coded.block import Block
from training.coded.nodes import Array, Part
from training.coded.peer_plan import Plan
from training.coded.peers import Factors, Gone, Peers, Standing
from training.coded.scheme import UNDECODABLE
from training.coded.weight import StateLost

WITNESSES = 3  # peers whose factors are compared, when a step is replayed


async def rebuilt(
    number: int, plan: Plan, peers: Peers, others: Mapping[int, Standing]
) -> tuple[int, list[Block]]:
    """A node's blocks as of a checkpoint that enough others have, from their copies, and its step.

    No more than a few rows of all blocks are ever here.

    Args:
        number: of the node.
        others: who answers.

    Raises:
        StateLost: there is none, or too many copies are wrong.
    """
    held = [checkpoint for one in others.values() for checkpoint in one.checkpoints]
    common = [one for one in set(held) if held.count(one) >= plan.needed]
    if not common:
        raise StateLost(f"Node {number}: no checkpoint is common to {plan.needed} peers.")
    checkpoint = max(common)
    helpers = [node for node, one in others.items() if checkpoint in one.checkpoints]
    made = []
    for layer, scheme in enumerate(plan.schemes):
        parts: dict[Part, Array] = {}
        for part in plan.parts:
            streams = {node: peers.strips(node, layer, part, checkpoint) for node in helpers}
            try:
                strips = [
                    await asyncio.to_thread(scheme.share, some, number, checkpoint)
                    async for some in _in_step(streams)
                ]
            except UNDECODABLE as error:
                raise StateLost(f"Node {number}, from step {checkpoint}: {error}") from error
            parts[part] = np.concatenate(strips)
        made.append(Block(parts["weight"], parts.get("velocity"), checkpoint))
    return checkpoint, made


async def witnessed(peers: Peers, step: int, others: Mapping[int, Standing]) -> list[Factors]:
    """A step's factors as most of some peers have them, since one may have decoded wrongly.

    Raises:
        Gone: no peer has them any more.
    """
    told = []
    for node in others:
        try:
            told.append(await peers.factors(node, step))
        except (Gone, OSError):
            continue
        if len(told) == WITNESSES:
            break
    if not told:
        raise Gone
    return [
        Factors(_median([one.activation for one in layer]), _median([one.signal for one in layer]))
        for layer in zip(*told, strict=True)
    ]


def _median(arrays: list[Array]) -> Array:
    return np.median(arrays, axis=0).astype(arrays[0].dtype)


async def _in_step(
    streams: Mapping[int, AsyncIterator[Array]],
) -> AsyncIterator[Mapping[int, Array]]:
    """The same rows of all streams, then the next; a stream that breaks off is left out."""
    left = dict(streams)
    while left:
        asked = (anext(stream, None) for stream in left.values())
        came = await asyncio.gather(*asked, return_exceptions=True)
        some = {
            node: rows
            for node, rows in zip(left, came, strict=True)
            if isinstance(rows, np.ndarray)
        }
        left = {node: left[node] for node in some}
        if some:
            yield some
