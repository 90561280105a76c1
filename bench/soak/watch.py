"""Samples of the cluster's processes while a soak runs."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from urllib.error import URLError
from urllib.request import urlopen

import psutil

import kofn
from bench.soak.cluster import Soakable
from bench.soak.verdict import Sample

EVERY_S = 1.0
SCRAPE_S = 5.0
TASKS = re.compile(r"^kofn_asyncio_tasks (\S+)$", re.MULTILINE)


class Watch:
    """Memory, files and tasks of every process, by "name/pid".

    Args:
        cluster: whose.
        clock: seconds of the run.
    """

    def __init__(self, cluster: Soakable, clock: Callable[[], float]) -> None:
        self.series: defaultdict[str, list[Sample]] = defaultdict(list)
        self._cluster = cluster
        self._clock = clock

    async def run(self, also: Callable[[], None]) -> None:
        """Sample until cancelled; `also` is called beside each sample."""
        while True:
            for name, sample in (await self.now()).items():
                self.series[name].append(sample)
            also()
            await asyncio.sleep(EVERY_S)

    async def now(self) -> dict[str, Sample]:
        """One sample of each process that is there."""
        processes = await self._cluster.process_ids()
        tasks = None
        if processes:
            tasks = await asyncio.to_thread(_tasks, self._cluster.metrics_address)
        found = {}
        for name, pid in processes.items():
            try:
                family = family_of(pid)
                rss_mib, files = resident_mib(family), _files(family)
            except psutil.NoSuchProcess:
                continue  # it was killed just now
            of_loop = tasks if name == "master" else None
            found[f"{name}/{pid}"] = Sample(self._clock(), rss_mib, files, of_loop)
        return found


def family_of(pid: int) -> list[psutil.Process]:
    """A process and its children: a container begins with an init process, the worker's parent."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def resident_mib(family: Iterable[psutil.Process]) -> float:
    """Resident memory of some processes."""
    return float(sum(process.memory_info().rss for process in family)) / 2**20


def scrape(metrics_address: str, timeout_s: float) -> str:
    """The master's metrics; raises Unavailable where it does not tell. It blocks."""
    try:
        with urlopen(f"http://{metrics_address}/metrics", timeout=timeout_s) as reply:
            page: bytes = reply.read()
    except (URLError, TimeoutError) as error:
        raise kofn.Unavailable(f"the master's metrics cannot be read: {error}") from error
    return page.decode()


def _files(family: Iterable[psutil.Process]) -> int | None:
    try:
        return sum(process.num_fds() for process in family)
    except psutil.AccessDenied:
        return None  # processes in containers are another user's


def _tasks(metrics_address: str) -> int | None:
    """Tasks of the master's event loop, as its metrics tell; None when they do not."""
    try:
        told = TASKS.search(scrape(metrics_address, SCRAPE_S))
    except kofn.Unavailable:
        return None
    return None if told is None else int(float(told[1]))
