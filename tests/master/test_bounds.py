"""Nothing piles up in a master: after thousands of requests that went wrong all is as before."""

import asyncio
import random
from pathlib import Path

import pytest

import kofn
from master.deployment import QUEUES_KEPT
from support.live import Live, deployment, live
from support.serving import queries
from support.until import until

REQUESTS = 2000
AT_ONCE = 50
ACTS = ("reply", "reply", "reply", "hold", "ignore", "fail", "nan", "garbage", "twice", "break")

pytestmark = pytest.mark.timeout(150)


async def test_requests_that_went_wrong_leave_nothing(archive: Path) -> None:
    """Cancelled, late, failed and good ones, over workers that hold, fail, lie and hang up."""
    draw = random.Random(0)
    short = deployment(archive, policy={"wait": "soft", "soft_deadline": "1ms", "hedge": "5ms"})
    async with live(archive, short) as now:
        await now.client.infer("doubled", queries(2))
        tasks_before = len(asyncio.all_tasks())
        for worker in now.workers:
            worker.script = lambda number: draw.choice(ACTS)
        ends = [kind for start in range(0, REQUESTS, AT_ONCE) for kind in await _many(now, draw)]
        for worker in now.workers:
            worker.script = lambda number: "reply"
            worker.gate.set()
        await until(lambda: now.master.pool.workers_up == 3)
        assert (await now.client.infer("doubled", queries(2), timeout_s=5)).is_whole
        served = now.master.state.deployments["doubled"]
        await until(lambda: not served.batches_in_flight)

        assert {"ok", "error", "cancelled"} <= set(ends)  # how many of each, the machine decides
        assert served.queued_rows == 0
        assert not served._requests
        assert len(served._batchers) <= QUEUES_KEPT
        for link in now.master.pool.links.values():
            assert link.in_flight == 0
            await until(lambda link=link: not link._outgoing and link._in_hand.is_empty)
            assert not link._cancelled
        assignment = now.master.pool.assignment
        assignment.check()
        assert [assignment.outstanding(a) for a in now.master.pool.links] == [0, 0, 0]
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
        seen = served.statistics.requests
        assert sum(took.count for took in seen.values()) > REQUESTS / 4  # those that reached it


async def test_watchers_that_hang_up_are_forgotten(archive: Path) -> None:
    """Of events and of health."""
    async with live(archive) as now:
        events = now.master.state.events
        for _ in range(50):
            watching = asyncio.create_task(anext(now.client.events()))
            await until(lambda: bool(events.watchers))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await until(lambda: not events.watchers)


async def _many(now: Live, draw: random.Random) -> list[str]:
    """Requests at once, each given up, out of time, or left to its end; each its own policy."""
    return await asyncio.gather(*(_one(now, draw) for _ in range(AT_ONCE)))


async def _one(now: Live, draw: random.Random) -> str:
    asking = asyncio.create_task(
        now.client.infer(
            "doubled",
            queries(draw.randint(1, 4)),
            timeout_s=draw.choice((0.02, 0.2, 2.0)),
            parameters={"gain_limit": str(draw.uniform(1, 100))},
        )
    )
    if draw.random() < 0.3:
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(draw.random() * 0.02, asking.cancel)
    try:
        await asking
    except asyncio.CancelledError:
        return "cancelled"
    except kofn.KofnError:
        return "error"
    return "ok"
