"""Results of peers: the late are given up, unless without them nothing decodes."""

import asyncio
from collections.abc import Mapping

import numpy as np

from codes.base import NotRecoverable
from training.coded.gathering import GRACE_S, gathered
from training.coded.nodes import Array

RESULT = np.ones((1, 1))


async def found_of(gate: asyncio.Event, needed: int) -> set[int]:
    async def at_once() -> Array:
        return RESULT

    async def late() -> Array:
        await gate.wait()
        return RESULT

    async def decode(some: Mapping[int, Array]) -> int:
        if len(some) < needed:
            raise NotRecoverable(tuple(some), (0,), needed)
        return len(some)

    found, count = await gathered({0: RESULT}, {1: at_once(), 2: late()}, decode)
    assert count == len(found)
    return set(found)


async def test_who_is_late_is_given_up() -> None:
    assert await found_of(asyncio.Event(), needed=2) == {0, 1}


async def test_who_is_needed_is_waited_for() -> None:
    gate = asyncio.Event()
    asyncio.get_running_loop().call_later(3 * GRACE_S, gate.set)
    assert await found_of(gate, needed=3) == {0, 1, 2}
