"""One worker's stream: how each task ends, once, whenever it is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from kofn.wire import worker_pb2
from kofn.wire.tensors import to_wire
from master.dialling import Dialling
from master.link import Link, Outcome
from support.scripted import PROGRAM, ScriptedWorker, scripted_workers
from support.until import until


class Heard:
    """Who listens to a link."""

    async def prepare(self, link: Link) -> None:
        """Nothing has to be prepared."""

    def up(self, link: Link) -> None:
        """Expected."""

    def draining(self, link: Link) -> None:
        """Not expected."""

    def lost(self, link: Link, reason: str) -> None:
        """Seen by the link's state."""


@asynccontextmanager
async def linked(worker: ScriptedWorker) -> AsyncIterator[Link]:
    """A link that is up."""
    async with scripted_workers(worker) as (address,):
        link = Link(address, Heard(), Dialling(), "127.0.0.1")
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: link.state == "up")
            yield link
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class Ends:
    """Tasks sent, and how they ended."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.outcomes: list[Outcome] = []
        self.released: list[int] = []

    def send(self) -> int:
        """One task; its id."""
        task = worker_pb2.Task(program=PROGRAM, inputs=[to_wire(np.ones((1, 3), "f4"))])
        task_id = self.link.send(worker_pb2.ToWorker(task=task), self.outcomes.append)
        assert task_id is not None
        return task_id

    def cancel(self, task_id: int) -> None:
        """Let go of it."""
        self.link.cancel(task_id, lambda: self.released.append(task_id))


async def test_a_task_that_is_cancelled_before_it_is_written_costs_nothing() -> None:
    worker = ScriptedWorker("w")
    async with linked(worker) as link:
        ends = Ends(link)
        task_id = ends.send()
        ends.cancel(task_id)
        ends.send()
        await until(lambda: len(ends.outcomes) == 1)
        assert ends.released == [task_id]
        assert len(worker.tasks) == 1
        assert not worker.cancelled


async def test_a_cancelled_task_is_released_by_its_result() -> None:
    """It may be on its way already, and comes also if the worker cannot break off."""
    worker = ScriptedWorker("w", script=lambda number: "hold")
    async with linked(worker) as link:
        ends = Ends(link)
        task_id = ends.send()
        await until(lambda: len(worker.tasks) == 1)
        ends.cancel(task_id)
        await until(lambda: worker.cancelled == [task_id])
        assert not ends.released
        worker.gate.set()
        await until(lambda: ends.released == [task_id])
        assert not ends.outcomes


async def test_what_the_worker_drops_by_itself_is_released_when_it_is_cancelled() -> None:
    """Until then it is in flight: a lost result is not known to be lost."""
    worker = ScriptedWorker("w", script=lambda number: "drop" if number == 0 else "reply")
    async with linked(worker) as link:
        ends = Ends(link)
        task_id = ends.send()
        ends.send()
        await until(lambda: len(ends.outcomes) == 1)  # told after the first one's release
        assert link.in_flight == 1
        ends.cancel(task_id)
        assert ends.released == [task_id]


async def test_a_broken_stream_releases_what_was_cancelled_and_loses_the_rest() -> None:
    worker = ScriptedWorker("w", script=lambda number: "hold" if number < 2 else "break")
    async with linked(worker) as link:
        ends = Ends(link)
        first, _ = ends.send(), ends.send()
        await until(lambda: len(worker.tasks) == 2)
        ends.cancel(first)
        ends.send()
        await until(lambda: len(ends.outcomes) == 2)
        assert ends.outcomes == [None, None]
        assert ends.released == [first]


async def test_a_task_that_has_ended_cannot_be_cancelled() -> None:
    async with linked(ScriptedWorker("w")) as link:
        ends = Ends(link)
        task_id = ends.send()
        await until(lambda: len(ends.outcomes) == 1)
        with pytest.raises(KeyError):
            ends.cancel(task_id)
