"""Nothing piles up in a worker: tasks that were cancelled, refused or abandoned leave nothing."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from support.until import until
from worker.runner import LAST_KEPT, Runner
from worker.server import WorkerServer
from worker.stream import LOADING_LIMIT

TASKS = 2000

pytestmark = pytest.mark.timeout(120)


async def test_tasks_that_nobody_waits_for_leave_nothing(
    worker: WorkerServer, dial: Any, connect: Any
) -> None:
    """Good, bad, late, cancelled ones on streams that are given up in the midst."""
    draw = random.Random(0)
    tasks_before = len(asyncio.all_tasks())
    for _ in range(4):
        master = await dial(worker)
        await master.set_faults('{"delay": {"law": "constant", "value_ms": 1}}')
        for number in range(1, TASKS // 4 + 1):
            program = draw.choice((master.program, "f" * 64))
            rows = draw.choice((1, 1, 8))
            deadline_ms = draw.choice((0, 1, 50))
            await master.send(master.task(number, rows, program=program, deadline_ms=deadline_ms))
            if draw.random() < 0.3:
                await master.cancel(draw.randint(1, number))
        master.stream.cancel()
    service, dispatcher = worker._service, worker.dispatcher
    await until(lambda: not service._streams, timeout_s=60)
    await until(lambda: dispatcher.in_hand == dispatcher.depth == 0, timeout_s=60)
    assert not service._single
    await until(lambda: len(asyncio.all_tasks()) <= tasks_before + 1)


async def test_tasks_that_wait_for_a_program_are_bounded(
    start: Any, dial: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is refused; the others are answered when it is there."""
    await dial(await start())
    late = await start(name="late")
    programs = late._service._programs
    programs._loaded.clear()
    gate, obtain = asyncio.Event(), programs.obtain

    async def obtain_later(name: str) -> Any:
        await gate.wait()
        return await obtain(name)

    monkeypatch.setattr(programs, "obtain", obtain_later)
    reader = connect(late.address)
    await reader.open()
    await reader.send(*(reader.task(i) for i in range(1, LOADING_LIMIT + 2)))
    (refused,) = (await reader.results(1)).values()
    assert (refused.id, refused.reason.split(":")[0]) == (LOADING_LIMIT + 1, "queue-full")
    gate.set()
    results = await reader.results(LOADING_LIMIT)
    assert {result.code for result in results.values()} == {0}


async def test_last_results_are_kept_of_some_programs_only() -> None:
    """Those that ran last."""
    runner = Runner("cpu", 1)
    try:
        for number in range(LAST_KEPT + 5):
            runner._remember(str(number), [np.zeros((1, 1))])
        runner._remember("7", [np.ones((1, 1))])
        runner._remember("new", [np.ones((1, 1))])
        assert list(runner._last)[-2:] == ["7", "new"]
        assert len(runner._last) == LAST_KEPT
    finally:
        await runner.close()
