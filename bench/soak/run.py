"""One soak from start to end: cluster, load, chaos, watch, and what is to be said of it."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import kofn
from bench.soak import plan, verdict
from bench.soak.chaos import Chaos, Event
from bench.soak.cluster import Backend, LaunchedCluster, RunningCluster, Soakable, kinds
from bench.soak.ledger import Ledger, Violation
from bench.soak.load import Load
from bench.soak.logs import suspicious
from bench.soak.systems import SYSTEMS, Truth, provide, truth
from bench.soak.verdict import Sample
from bench.soak.watch import Watch
from kofn.cli.connection import At
from models.store import Store

QUIET_S = 2.0  # after the load, before tasks and files are counted
NAMES = [system.name for system in SYSTEMS]


@dataclass(frozen=True)
class Settings:
    """What a soak is to be.

    Attributes:
        seconds: of load.
        seed: of load and chaos.
        workers: at least three more than any code has slots: two in trouble, and a liar.
        backend: where the workers run; "running": nobody here started them.
    """

    seconds: float = 60.0
    seed: int = 0
    workers: int = 9
    backend: Backend | Literal["running"] = "local"


@dataclass
class Soaked:
    """What came of it."""

    settings: Settings
    ledger: Ledger
    events: list[Event]
    series: Mapping[str, list[Sample]]
    levels: dict[str, tuple[float, float]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)


class Ears(logging.Handler):
    """Hears what the clients in this process log as errors, asyncio's unhandled exceptions too."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[Violation] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        trouble = "" if record.exc_info is None else f": {record.exc_info[1]!r}"
        self.heard.append(Violation("log", f"clients: {record.getMessage()}{trouble}"))


async def soak(
    settings: Settings,
    store: Store,
    folder: Path,
    tell: Callable[[str], None],
    update: Callable[[float, str], None] = lambda now, says: None,
) -> Soaked:
    """Run one.

    Args:
        settings: what it is to be.
        store: for the models.
        folder: for the services' logs.
        tell: called with lines of the event log.
        update: called each second, with the seconds of the run and how things stand.
    """
    await asyncio.to_thread(provide, store)
    right = await asyncio.to_thread(truth, store)
    deployments = [system.deployment for system in SYSTEMS]
    assert settings.backend != "running"
    with _listening() as ears:
        async with LaunchedCluster(
            settings.backend, settings.workers, deployments, store.root, folder
        ) as cluster:
            soaked = await soak_on(cluster, settings, right, tell, update)
    for name, text in (await asyncio.to_thread(_logs, folder)).items():
        soaked.violations += suspicious(name, text)
    soaked.violations += ears.heard
    return soaked


async def soak_running(
    at: At,
    settings: Settings,
    store: Store,
    tell: Callable[[str], None],
    update: Callable[[float, str], None] = lambda now, says: None,
) -> Soaked:
    """Run one on a master that serves already, with what it has for workers.

    Faults are injected only; memory, files, tasks and logs are not looked at. Arguments as of
    `soak`, `at` says where and how; raises what `RunningCluster` raises.
    """
    async with at.async_client() as client:
        await client.status()  # who may not is told before models are trained
    await asyncio.to_thread(provide, store)
    right = await asyncio.to_thread(truth, store)
    with _listening() as ears:
        async with RunningCluster(at, SYSTEMS, store) as cluster:
            settings = replace(settings, workers=len(cluster.workers), backend="running")
            soaked = await soak_on(cluster, settings, right, tell, update)
    soaked.violations += ears.heard
    return soaked


async def soak_on(
    cluster: Soakable,
    settings: Settings,
    right: Truth,
    tell: Callable[[str], None],
    update: Callable[[float, str], None] = lambda now, says: None,
) -> Soaked:
    """Run one on a cluster that serves SYSTEMS; logs are not read. Arguments as of `soak`."""
    seconds = settings.seconds
    schedule = plan.troubles(settings.seed, seconds, cluster.workers, kinds(cluster.chaos))
    for trouble in schedule:
        what = f"{trouble.kind}, {trouble.worker}, {trouble.lasts_s:.1f} s"
        tell(f"planned {trouble.at_s:.1f} s: {what}")
    began = monotonic()

    def clock() -> float:
        return monotonic() - began

    async with cluster.at.async_client() as operator:
        chaos = Chaos(cluster, operator, schedule, clock, tell)
        ledger = Ledger({s.name: s for s in SYSTEMS}, right, chaos.lied_since)
        watch = Watch(cluster, clock)
        async with Load(cluster.at, right.images, ledger, clock) as load:
            await load.warm_up(NAMES)
            counted, idle = await _counters(operator), await watch.now()
            began = monotonic()

            told = 0

            def each_second() -> None:
                nonlocal told
                ledger.overdue(clock())
                for violation in ledger.violations[told:]:
                    tell(f"{clock():7.1f} s  {violation.kind}: {violation.what}")
                told = len(ledger.violations)
                update(clock(), _standing(ledger, chaos))

            watching = asyncio.create_task(watch.run(each_second))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(chaos.run())
                    calls = plan.calls(settings.seed, seconds, SYSTEMS, len(right.images), schedule)
                    group.create_task(load.run(calls))
                ledger.close()
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            ended_s = clock()
            soaked = Soaked(settings, ledger, chaos.events, dict(watch.series))
            if not await chaos.all_back():
                soaked.violations.append(Violation("error", "not all workers came back"))
            await asyncio.sleep(QUIET_S)
            answered = await _counters(operator)
            quiet = await watch.now()
    since = {
        name: (answered[name][0] - counted[name][0], answered[name][1] - counted[name][1])
        for name in NAMES
    }
    grown, soaked.levels = verdict.memory(soaked.series, ended_s)
    soaked.violations += ledger.violations
    soaked.violations += verdict.estimates(ledger.tallies)
    soaked.violations += verdict.counters(ledger.tallies, since)
    soaked.violations += grown
    soaked.violations += verdict.leaks(idle, quiet)
    return soaked


@contextmanager
def _listening() -> Iterator[Ears]:
    ears = Ears()
    logging.getLogger().addHandler(ears)
    try:
        yield ears
    finally:
        logging.getLogger().removeHandler(ears)


def _standing(ledger: Ledger, chaos: Chaos) -> str:
    answered = sum(tally.answered for tally in ledger.tallies.values())
    decoded = sum(tally.decoded_rows for tally in ledger.tallies.values())
    now = ", ".join(f"{trouble.worker} {trouble.kind}" for trouble in chaos.now)
    return (
        f"{answered} answers, {decoded} decoded rows, {ledger.open} open, "
        f"{len(ledger.violations)} wrong; {now}"
    )


def _logs(folder: Path) -> dict[str, str]:
    """By service, all that it logged."""
    names = ("master", "worker-*")
    paths = [path for name in names for path in folder.glob(f"{name}.log")]
    return {path.stem: path.read_text(errors="replace") for path in paths}


async def _counters(operator: kofn.AsyncClient) -> dict[str, tuple[int, int]]:
    """By system, rows that the master answered, and of these those that it decoded."""
    told: Any = (await operator.status()).deployments
    return {item.name: (item.answered_rows, item.decoded_rows) for item in told}
