"""Wait for something that the code under test brings about and tells nobody."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Let the event loop run until the condition holds; AssertionError after `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
    except TimeoutError:
        raise AssertionError("what the test waits for did not happen") from None
