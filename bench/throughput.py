"""How many images a second one master answers, on a live cluster of processes on this machine.

Closed loop on purpose: it asks what the cluster can do, not what a client sees (`sweep` is for
that). Clients, master and workers share the cores, and the CPU of each is told, so that the table
shows what was the limit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

import kofn
from kofn.launch import Cluster, LocalWorkers
from models import data
from models.store import Store

REQUEST_S = 10.0
WARM_UP_S = 1.0
UP_S = 60.0

_BATCHING = {"max_groups": 64, "max_delay_ms": 2, "queue_rows": 8192}
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "uncoded-4": {"code": {"name": "uncoded", "k": 4}, "batching": _BATCHING},
    "parity-4-6": {
        "code": {"name": "parity", "k": 4, "n": 6, "calibrated": True},
        "batching": _BATCHING,
    },
}


@dataclass(frozen=True)
class Setting:
    """One row: a deployed model under a fixed number of requests in flight."""

    code: str  # a key of DEPLOYMENTS
    batch: int  # images a request
    concurrency: int  # requests in flight
    seconds: float


async def measure_all(
    model: str, workers: int, settings: Sequence[Setting], flags: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One cluster that serves `model` behind each code; the settings one after the other.

    Args:
        model: in the store; its card says which data set's test images are asked for.
        flags: of `python -m worker`.
    """
    deployments = [
        {"name": name, "program": model, "timeout_ms": 10_000, **deployment}
        for name, deployment in DEPLOYMENTS.items()
    ]
    images = data.load(Store().card(model).dataset, "test").images.numpy()
    async with Cluster(LocalWorkers(workers, flags=flags), deployments) as cluster:
        await cluster.all_up(UP_S)
        return [await measure(cluster, setting, images) for setting in settings]


async def measure(
    cluster: Cluster, setting: Setting, images: npt.NDArray[np.float32]
) -> dict[str, Any]:
    """Keep `concurrency` requests in flight for `seconds`; every answer is checked for presence."""
    batch = np.resize(images, (setting.batch, *images.shape[1:]))
    latencies: list[float] = []
    stop_at = perf_counter() + WARM_UP_S
    async with kofn.AsyncClient(cluster.address) as client:

        async def keep_asking() -> None:
            while perf_counter() < stop_at:
                began = perf_counter()
                answers = await client.infer(setting.code, batch, timeout_s=REQUEST_S)
                if not answers.source.all():
                    raise RuntimeError("a row came back without an answer")
                latencies.append(perf_counter() - began)

        async def load() -> None:
            await asyncio.gather(*(keep_asking() for _ in range(setting.concurrency)))

        await load()
        latencies.clear()
        before = _cpu_s(cluster)
        began = perf_counter()
        stop_at = began + setting.seconds
        await load()
        took_s = perf_counter() - began
        used = {name: end - before[name] for name, end in _cpu_s(cluster).items()}
    p50, p99 = np.quantile(latencies, (0.5, 0.99))
    return {
        "code": setting.code,
        "batch": setting.batch,
        "concurrency": setting.concurrency,
        "images_per_s": setting.batch * len(latencies) / took_s,
        "requests": len(latencies),
        "p50_ms": 1e3 * float(p50),
        "p99_ms": 1e3 * float(p99),
        "master_cpu": used["master"] / took_s,
        "worker_cpu": used["workers"] / took_s,
        "client_cpu": used["client"] / took_s,
    }


def _cpu_s(cluster: Cluster) -> dict[str, float]:
    def of(pid: int) -> float:
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system

    return {
        "master": of(cluster.master_pid),
        "workers": sum(of(worker.pid) for worker in cluster.workers),
        "client": of(psutil.Process().pid),
    }
