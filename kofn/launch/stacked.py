"""What is started piece by piece, and ended whole, also where a piece did not start."""

from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from typing import Self


class Stacked(ABC):
    """`async with` starts it and ends it: what `_start` put on `_stack`, last in first out."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    @abstractmethod
    async def _start(self) -> None:
        """Start all; each thing that is to be ended goes onto the stack at once."""
