"""Operations on matrices, one after the other on the device, with the faults that tasks meet, too.

A task is queued and coalesced (`queue.py`); an operation is not: it goes straight to the device
thread, behind what is in service there. How it fails, how late it is and how wrong is drawn as for
a task, from the seed that its caller gives it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import structlog

from kofn.wire.errors import CONNECTION_LOST, KofnError, Unavailable
from worker.dispatch import INJECTED, Dispatcher
from worker.faults import Injector, Kind
from worker.runner import Runner

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Operation:
    """One operation in hand.

    Attributes:
        seed: of its faults.
        is_cancelled: written by the event loop only; the device thread reads it.
        broken: resolved when an injected fault breaks it off.
    """

    seed: int
    broken: "asyncio.Future[None]"
    is_cancelled: bool = field(default=False, init=False)

    def is_wanted(self) -> bool:
        """Whether anybody waits for it still."""
        return not self.is_cancelled


class Operations:
    """All operations of one worker.

    Args:
        dispatcher: whose faults and draining concern them, too.
        runner: the device.
    """

    def __init__(self, dispatcher: Dispatcher, runner: Runner) -> None:
        self._dispatcher = dispatcher
        self._runner = runner
        self._in_hand: set[Operation] = set()

    async def perform(
        self, seed: int, work: Callable[[Operation, Injector], T]
    ) -> tuple[T, float, float]:
        """Do it; `work` runs on the device thread.

        Returns:
            What it gives, and seconds that it waited for the device and was in service.

        Raises:
            Unavailable: the worker is draining, refuses or breaks off as told.
            KofnError: as `work` raises it.
        """
        dispatcher = self._dispatcher
        with dispatcher.busy():
            operation = Operation(seed, asyncio.get_running_loop().create_future())
            self._in_hand.add(operation)
            running = asyncio.create_task(self._run(operation, work))
            try:
                first: set[asyncio.Future[Any]] = {running, operation.broken}
                await asyncio.wait(first, return_when="FIRST_COMPLETED")
                if operation.broken.done():
                    raise _broken()
                return running.result()
            finally:
                self._in_hand.discard(operation)
                operation.is_cancelled = True
                operation.broken.cancel()
                self._runner.stir()
                if not running.done():
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)

    def break_off(self) -> None:
        """An injected fault breaks the connections of all that is in hand."""
        for operation in self._in_hand:
            if not operation.broken.done():
                operation.broken.set_result(None)

    async def _run(
        self, operation: Operation, work: Callable[[Operation, Injector], T]
    ) -> tuple[T, float, float]:
        dispatcher = self._dispatcher
        began_s = monotonic()
        kind = dispatcher.failure(operation.seed)
        if kind is not None:
            self._meet(kind)
        await dispatcher.awake.wait()
        injector = dispatcher.injector
        done, service_s = await self._runner.perform(
            operation, lambda: work(operation, injector), injector
        )
        dispatcher.busy_s += service_s
        await dispatcher.awake.wait()  # a hang may have begun meanwhile
        if kind == "drop":
            await asyncio.Event().wait()  # until the caller's patience ends
        if done is None:
            raise _broken()  # cancelled: nobody hears this
        return done, max(0.0, monotonic() - began_s - service_s), service_s

    def _meet(self, kind: Kind) -> None:
        """An operation meets its failure; a dropped one is done, and its answer not sent."""
        log.debug("injected-failure", kind=kind, worker=self._dispatcher.name)
        match kind:
            case "refuse":
                raise Unavailable("This worker refuses the operation, as told.", INJECTED)
            case "disconnect":
                raise _broken()
            case "exit" | "hang":
                self._dispatcher.fail_now(kind)
            case "drop":
                pass


def _broken() -> KofnError:
    return Unavailable("The worker breaks this call, as told.", CONNECTION_LOST)
