"""Results of all peers, waited for until they decode: for the slow no longer than is worth it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from training.coded.nodes import Array
from training.coded.peers import Gone
from training.coded.scheme import UNDECODABLE

GRACE_S = 0.05  # that late ones get at least, once half have come

T = TypeVar("T")


class Lost(RuntimeError):
    """Nobody is left to wait for, and nothing decodes.

    Attributes:
        are_gone: some of those who did not answer have gone on.
    """

    def __init__(self, message: str, *, are_gone: bool) -> None:
        super().__init__(message)
        self.are_gone = are_gone


async def gathered(
    own: Mapping[int, Array],
    calls: Mapping[int, Coroutine[Any, Any, Array]],
    decode: Callable[[Mapping[int, Array]], Awaitable[T]],
) -> tuple[Mapping[int, Array], T]:
    """Results, and what they decode to; what is late then is given up.

    Once half have come the others get as long again; then it is tried whether what is there
    decodes, and again with each that comes.

    Args:
        own: the caller's, by node.
        calls: to peers; they end by themselves, since each has a deadline.
        decode: raises one of `UNDECODABLE` where more may help.

    Raises:
        Lost: see there.
    """
    clock = asyncio.get_running_loop().time
    tasks = {asyncio.create_task(call): node for node, call in calls.items()}
    results, pending, are_gone = dict(own), set(tasks), False

    async def more(timeout_s: float | None) -> None:
        nonlocal pending, are_gone
        done, pending = await asyncio.wait(
            pending, timeout=timeout_s, return_when="FIRST_COMPLETED"
        )
        for task in done:
            try:
                results[tasks[task]] = task.result()
            except Gone:
                are_gone = True
            except OSError:  # a peer that is lost
                continue

    began_s = clock()
    try:
        while pending and 2 * len(results) <= len(tasks):
            await more(None)
        until_s = clock() + max(GRACE_S, clock() - began_s)
        while pending and (left_s := until_s - clock()) > 0:
            await more(left_s)
        while True:
            some = dict(results)
            try:
                return some, await decode(some)
            except UNDECODABLE as error:
                why = error
            if not pending:
                raise Lost(str(why), are_gone=are_gone) from why
            await more(None)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
