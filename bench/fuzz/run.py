"""A cluster of processes under fuzzed calls: what it answered, and what became of it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import psutil

import kofn
from bench.fuzz.shots import Target, shots, volley
from bench.soak.logs import suspicious
from kofn.launch import Cluster, LocalWorkers
from kofn.wire import channels
from models.programs import load_program
from models.store import Store

MODEL = "digits-lenet"  # comes with the package
WORKERS = 3
UP_S = 120.0
GOOD_S = 20.0  # for a good request, on a busy machine
VOLLEY = 100  # calls between two good requests
WARM_SHARE = 0.3  # of the calls, after which memory must not grow any more
MOST_GROWTH_MB = 50.0  # of a process from then on; what allocators keep, not what calls leave
MB = 2**20


@dataclass
class Fuzzed:
    """What came of it.

    Attributes:
        calls: made.
        seconds: all of them took.
        statuses: how often a call ended so.
        good: requests in between that were answered, and right.
        memory_mb: by process, once warm and at the end.
        wrong: everything that must not be, and how often.
    """

    calls: int = 0
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    good: int = 0
    memory_mb: dict[str, list[float]] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)


async def fuzz(calls: int, seed: int, folder: Path, tell: Callable[[int], None]) -> Fuzzed:
    """Fire calls at the master and one worker of a new cluster.

    Args:
        calls: how many, in volleys of 100.
        seed: of all of them.
        folder: for logs.
        tell: told how many were made.
    """
    archive = Store().archive(MODEL)
    program = load_program(archive)
    (spec,) = program.inputs
    target = Target(MODEL, spec.name, spec.shape, program.hash, archive)
    code = {"name": "replication", "k": 1, "n": WORKERS}
    deployment = {"name": MODEL, "program": MODEL, "code": code, "timeout_ms": 10_000}
    found = Fuzzed()
    async with Cluster(LocalWorkers(WORKERS), [deployment], folder=folder) as cluster:
        await cluster.all_up(UP_S)
        addresses = {"master": cluster.address, "worker": cluster.workers[0].address}
        opened = {name: channels.client_channel(at) for name, at in addresses.items()}
        pids = {"master": cluster.master_pid, **{w.name: w.pid for w in cluster.workers}}
        began, aimed = monotonic(), shots(target, seed)
        async with kofn.AsyncClient(cluster.address) as client:
            good = _Good(client, spec.shape)
            await good.ask()
            while found.calls < calls and not found.wrong:
                outcomes = await volley(opened, islice(aimed, min(VOLLEY, calls - found.calls)))
                found.calls += len(outcomes)
                found.statuses.update(outcome.status for outcome in outcomes)
                found.wrong.update(outcome.wrong for outcome in outcomes if outcome.wrong)
                if problem := await good.ask():
                    found.wrong[f"after {found.calls} calls: {problem}"] += 1
                else:
                    found.good += 1
                if not found.memory_mb and found.calls >= WARM_SHARE * calls:
                    found.memory_mb = {name: [_memory_mb(pid)] for name, pid in pids.items()}
                tell(found.calls)
        found.seconds = monotonic() - began
        for channel in opened.values():
            await channel.close(None)
        pids_now = {"master": cluster.master_pid, **{w.name: w.pid for w in cluster.workers}}
        found.wrong.update(name for name in pids if pids_now[name] != pids[name])  # it died
        for name, sizes in found.memory_mb.items():
            sizes.append(_memory_mb(pids_now[name]))
            if sizes[1] - sizes[0] > MOST_GROWTH_MB:
                found.wrong[f"{name} grew from {sizes[0]:.0f} to {sizes[1]:.0f} MiB"] += 1
    found.wrong.update(await asyncio.to_thread(_complaints, folder))
    return found


class _Good:
    """A request that must be answered, and always the same."""

    def __init__(self, client: kofn.AsyncClient, shape: tuple[int, ...]) -> None:
        self._client = client
        self._rows = np.random.default_rng(0).random((4, *shape), np.float32)
        self._truth: Any = None  # the first answers

    async def ask(self) -> str | None:
        """What is wrong; faults that fuzzed calls may have set are cleared before."""
        try:
            await self._client.set_faults(None, timeout_s=GOOD_S)
            outputs = (await self._client.infer(MODEL, self._rows, timeout_s=GOOD_S)).outputs
        except kofn.KofnError as error:
            return f"a good request was refused: {type(error).__name__}: {error}"
        if self._truth is None:
            self._truth = outputs
        if not np.allclose(outputs, self._truth, rtol=1e-4, atol=1e-5):
            return "a good request had a wrong answer"
        return None


def _memory_mb(pid: int) -> float:
    return round(psutil.Process(pid).memory_info().rss / MB, 1)


def _complaints(folder: Path) -> list[str]:
    """Lines of the logs that tell of exceptions."""
    return [
        violation.what
        for log in sorted(folder.glob("*.log"))
        for violation in suspicious(log.stem, log.read_text(errors="replace"))
    ]
