"""Counters of a master's, before and after: what a load cost the master and the workers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields

import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.soak.watch import family_of, resident_mib, scrape

SCRAPE_S = 10.0
OF_DEPLOYMENT = {
    "tasks": "kofn_tasks_total",
    "batches": "kofn_batch_groups_count",
    "groups": "kofn_batch_groups_sum",
}
OF_WORKERS = {
    "busy_s": "kofn_worker_busy_seconds_total",
    "sent_bytes": "kofn_worker_sent_bytes_total",
}


@dataclass(frozen=True)
class Counters:
    """What has been counted until now.

    Attributes:
        tasks, batches, groups: of a deployment: sent to workers, started, in these.
        busy_s: seconds in service of all workers, as they last reported.
        sent_bytes: payload of all tasks to all workers.
        master_cpu_s: user and system time of the master's process.
    """

    tasks: float = 0.0
    batches: float = 0.0
    groups: float = 0.0
    busy_s: float = 0.0
    sent_bytes: float = 0.0
    master_cpu_s: float = 0.0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: "Counters") -> "Counters":
        return Counters(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


async def count(metrics_address: str, deployment: str, master_pid: int) -> Counters:
    """As they are now; raises Unavailable where the master does not tell."""
    text = await asyncio.to_thread(scrape, metrics_address, SCRAPE_S)
    return Counters(**counted(text, deployment), master_cpu_s=cpu_s(master_pid))


def counted(text: str, deployment: str) -> Mapping[str, float]:
    """Of a page of metrics, those of one deployment and of all workers together."""
    found = dict.fromkeys((*OF_DEPLOYMENT, *OF_WORKERS), 0.0)
    names = {metric: ours for ours, metric in (*OF_DEPLOYMENT.items(), *OF_WORKERS.items())}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            ours = names.get(sample.name)
            if ours is not None and sample.labels.get("deployment", deployment) == deployment:
                found[ours] += sample.value
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process until now."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def memory_mib(pid: int) -> float | None:
    """Resident memory of a process and of its children; None when it is gone."""
    try:
        return resident_mib(family_of(pid))
    except psutil.Error:
        return None
