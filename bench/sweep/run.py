"""Goes through the points of a plan: one cluster for each number of workers, one folder for all."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import kofn
from bench.load.process import LoadProcess
from bench.soak.cluster import LaunchedCluster
from bench.sweep.figures import Truth
from bench.sweep.folder import Folder
from bench.sweep.plan import Plan, Point, System
from bench.sweep.point import Task, measure
from bench.sweep.provide import answers, chosen
from bench.sweep.record import Record
from bench.sweep.subjects import Deployed, Subject, ask_all, probe
from models.store import Store

DEPLOY_S = 120.0
NOTICE_S = 30.0  # until the master has noticed that a worker is dead, or is back
LOOK_AGAIN_S = 0.1
UP = ("up", "on probation")


async def sweep(
    plan: Plan,
    store: Store,
    folder: Folder,
    marks: Mapping[str, Any],
    *,
    step: Callable[[str], None] = lambda says: None,
) -> AsyncIterator[list[Record]]:
    """Measure what the folder does not have yet; gives the records of each point, once kept.

    Args:
        plan: what.
        store: it has all that the plan names.
        folder: opened for the plan.
        marks: of the records: "table", "command", and "published" where there is.
        step: called after each turn of a system.

    Raises:
        KofnError, TimeoutError: the cluster failed; what is finished is kept.
    """
    test = chosen(plan)
    outputs = await asyncio.to_thread(answers, plan, store, test.images)
    truth = Truth(test.labels.numpy(), outputs.numpy().astype(np.float32))
    run = datetime.now(UTC).isoformat(timespec="seconds")
    finished = folder.finished()
    left = [point for point in plan.points if point.name not in finished]
    async with LoadProcess() as load:
        task = Task(plan, test.images.numpy(), truth, load, {**marks, "run": run}, step)
        for workers, points in groupby(left, key=lambda point: point.workers):
            async with _cluster(plan, store, workers) as cluster, AsyncExitStack() as stack:
                others = [
                    await stack.enter_async_context(_beside(system, plan, store, workers))
                    for system in plan.systems(workers)
                    if system.deployment is None
                ]
                for point in points:
                    records = await _point(task, cluster, point, others)
                    folder.add(records)
                    yield records


def turns(plan: Plan, points: Sequence[Point]) -> int:
    """How often `sweep` will call `step`, if nothing fails."""
    return sum(len(plan.systems(point.workers)) for point in points) * plan.text.turns


@asynccontextmanager
async def _cluster(plan: Plan, store: Store, workers: int) -> AsyncIterator[LaunchedCluster]:
    text = plan.text
    flags = () if text.batch_rows is None else ("--max-batch-rows", str(text.batch_rows))
    with tempfile.TemporaryDirectory(prefix="kofn-sweep-") as folder:
        async with LaunchedCluster(
            text.backend, workers, [], store.root, Path(folder), flags
        ) as cluster:
            yield cluster


def _beside(
    system: System, plan: Plan, store: Store, workers: int
) -> AbstractAsyncContextManager[Subject]:
    """What is not on the cluster, with as many processes as it has workers."""
    from bench.sweep.ray_serve import serving

    archive = store.archive(plan.text.model)
    return serving(system, archive, workers, plan.text.deadline_ms / 1e3)


async def _point(
    task: Task, cluster: LaunchedCluster, point: Point, others: Sequence[Subject]
) -> list[Record]:
    text = task.plan.text
    names = np.random.default_rng([text.seed, point.workers]).permutation(cluster.workers)
    dead, living = names[: point.lost].tolist(), names[point.lost :].tolist()
    failures: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(cluster.at.async_client())
        subjects: list[Subject] = []
        for other in others:
            await task.clean(other, point.workers)
            subjects.append(other)
        for system in task.plan.systems(point.workers):
            if system.deployment is None:
                continue
            try:
                wanted = system.deployment.model_dump(mode="json", exclude_unset=True)
                await client.deploy(wanted, timeout_s=DEPLOY_S)
                subject = Deployed(system, cluster, client, living, text.deadline_ms / 1e3)
                await task.clean(subject, point.workers)
                subjects.append(subject)
            except kofn.KofnError as error:
                failures[system.name] = f"{error.status.name}: {error}"
        await client.deploy(probe(text.model, len(living)), timeout_s=DEPLOY_S)
        await ask_all(client, len(living))
        stack.push_async_callback(_revive, cluster, client, dead)
        for worker in dead:
            await cluster.chaos.act(worker, "pause")
        await _until_up(client, set(living))
        return await measure(task, point, subjects, failures)


async def _revive(cluster: LaunchedCluster, client: kofn.AsyncClient, dead: Sequence[str]) -> None:
    for worker in dead:
        await cluster.chaos.act(worker, "unpause")
    await _until_up(client, set(cluster.workers))


async def _until_up(client: kofn.AsyncClient, wanted: set[str]) -> None:
    """Wait until the master sends work to these workers and no others."""
    async with asyncio.timeout(NOTICE_S):
        while True:
            workers = (await client.status()).workers
            if {worker.name for worker in workers if worker.state in UP} == wanted:
                return
            await asyncio.sleep(LOOK_AGAIN_S)
