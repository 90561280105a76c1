"""How soon a lost worker is noticed and a returned one used, on a live cluster under steady load.

A round stops one worker process (SIGSTOP) and lets it go on (SIGCONT), then kills it (SIGKILL);
its launcher starts it again at its address. The moments of change are the master's own events, the
moment from which a new process listens is that of its log, and all have this machine's clock.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from time import perf_counter, time
from typing import Any

import kofn
from kofn.launch import Cluster, LocalWorkers
from kofn.wire import control_pb2
from models import data

WORKERS, K = 6, 4
REQUEST_S = 10.0
WAIT_S = 60.0  # no step takes that long; a process that starts on a busy machine takes a part of it
DOWN_S = 0.5  # how long a worker stays frozen once it is out
SETTLE_S = 1.0  # of load between two steps

STEPS = {
    "frozen_s": "stopped process to out of the rotation",
    "thawed_s": "process goes on to back in the rotation",
    "killed_s": "killed process to out of the rotation",
    "rejoined_s": "new process listens to back in the rotation",
    "first_task_s": "new process listens to its first result",
}


@dataclass
class Load:
    """What the clients of a run saw."""

    requests: int = 0
    failed: int = 0
    slowest_s: float = 0.0
    errors: list[str] = field(default_factory=list)


async def measure(model: str, rounds: int, concurrency: int) -> dict[str, Any]:
    """Medians and maxima over the rounds, in seconds, and how the load fared meanwhile."""
    deployment = {
        "name": "digits",
        "program": model,
        "code": {"name": "parity", "k": K, "n": WORKERS, "calibrated": True},
        "timeout_ms": int(1e3 * REQUEST_S),
    }
    found: dict[str, list[float]] = {step: [] for step in STEPS}
    load = Load()
    launcher = LocalWorkers(WORKERS)
    async with (
        Cluster(launcher, [deployment]) as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        await cluster.all_up(WAIT_S)
        asking = [asyncio.create_task(_keep_asking(client, load)) for _ in range(concurrency)]
        try:
            for number in range(rounds):
                name = f"worker-{number % WORKERS}"
                for step, took_s in (await _round(client, launcher, name)).items():
                    found[step].append(took_s)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
    return {
        "rounds": rounds,
        "workers": WORKERS,
        "k": K,
        "concurrency": concurrency,
        **{step: {"median": median(values), "max": max(values)} for step, values in found.items()},
        "requests": load.requests,
        "failed": load.failed,
        "slowest_ms": 1e3 * load.slowest_s,
        "errors": load.errors[:5],
    }


async def _round(client: kofn.AsyncClient, launcher: LocalWorkers, name: str) -> dict[str, float]:
    (worker,) = [item for item in launcher.workers if item.name == name]
    frozen_s = await _until(client, "worker-down", name, lambda: _signal(worker.pid, "SIGSTOP"))
    await asyncio.sleep(DOWN_S)
    thawed_s = await _until(client, "worker-up", name, lambda: _signal(worker.pid, "SIGCONT"))
    await asyncio.sleep(SETTLE_S)
    back = asyncio.create_task(_told(client, "worker-up", name, after=1))
    killed_s = await _until(client, "worker-down", name, lambda: launcher.kill(name))
    up_at = await asyncio.wait_for(back, WAIT_S)
    results_before = await _results(client, name)
    async with asyncio.timeout(WAIT_S):
        while await _results(client, name) == results_before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)
    worked_at = time()
    listened_at = _last_ready(await launcher.logs(name))
    await asyncio.sleep(SETTLE_S)
    return {
        "frozen_s": frozen_s,
        "thawed_s": thawed_s,
        "killed_s": killed_s,
        "rejoined_s": up_at - listened_at,
        "first_task_s": worked_at - listened_at,
    }


async def _until(
    client: kofn.AsyncClient, kind: str, name: str, act: Callable[[], Awaitable[None]]
) -> float:
    """Seconds from an act to the event that it brings about."""
    telling = asyncio.create_task(_told(client, kind, name))
    await asyncio.sleep(0.1)  # the master hears of the watcher first
    began = time()
    await act()
    return await asyncio.wait_for(telling, WAIT_S) - began


async def _told(client: kofn.AsyncClient, kind: str, name: str, after: int = 0) -> float:
    """When the master next tells this of a worker; `after` so many of its other events."""
    seen = 0
    async for event in client.events():
        if event.subject != name:
            continue
        if event.kind == kind and seen >= after:
            return event.time_s
        seen += 1
    raise RuntimeError("the master ended the watch")


async def _signal(pid: int, name: str) -> None:
    os.kill(pid, signal.Signals[name])


async def _results(client: kofn.AsyncClient, name: str) -> int:
    status: control_pb2.Status = await client.status()
    return next(int(worker.results) for worker in status.workers if worker.name == name)


def _last_ready(log: str) -> float:
    """When the newest process of this log said that it listens; seconds since the epoch."""
    moment = 0.0
    for line in log.splitlines():
        with contextlib.suppress(ValueError):  # lines of libraries are no JSON
            told = json.loads(line)
            if told.get("event") == "ready":
                moment = datetime.fromisoformat(told["timestamp"]).timestamp()
    return moment


async def _keep_asking(client: kofn.AsyncClient, load: Load) -> None:
    images = data.load("digits", "test").images.numpy()[:8]
    while True:
        began = perf_counter()
        try:
            answers = await client.infer("digits", images, timeout_s=REQUEST_S)
        except kofn.KofnError as error:
            load.failed += 1
            load.errors.append(str(error))
        else:
            load.failed += not answers.is_whole
        load.requests += 1
        load.slowest_s = max(load.slowest_s, perf_counter() - began)
        await asyncio.sleep(0.01)  # steady and light: the machine's cores are for the signals
