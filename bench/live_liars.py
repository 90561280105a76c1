"""What a lying worker costs on a live cluster: `python -m bench live-liars`.

Groups of test images, one after the other, first with honest workers, then with one of them
flipping the signs of all it says: accuracy, latency, tasks, and whom the master blamed.
"""

from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

import kofn
from bench.records import provenance
from kofn.launch import Cluster, LocalWorkers
from kofn.wire import control_pb2
from models import data

K, SLOTS = 8, 12
LIAR = "worker-3"
LIE = {"corruption": {"law": "sign-flip"}}
WARM_GROUPS = 20  # before anything is measured: the master learns what is usual
WAIT_S = 120.0
TITLES = (
    "workers", "slots", "recheck", LIAR, "images", "accuracy", "p50, ms", "p99", "tasks",
    "its results", "found", "others accused", "quarantined",
)  # fmt: skip


async def measure(
    dataset: str, workers: int, recheck: float, images: int, seed: int
) -> AsyncIterator[dict[str, Any]]:
    """Two rows: without a lie, then with one worker that lies.

    Args:
        dataset: whose LeNet of the model store is served.
        workers: processes, for `SLOTS` slots.
        recheck: of the policy.
        images: of the test set, asked for in each row.
        seed: of their order.
    """
    model = f"{dataset}-lenet"
    deployment = {
        "name": model,
        "program": model,
        "code": {"name": "berrut", "k": K, "n": SLOTS, "calibrated": True},
        "policy": {"liars": 1, "recheck": recheck},
        "timeout_ms": 10_000,
    }
    test = data.load(dataset, "test")
    order = np.random.default_rng(seed).permutation(len(test.labels))[:images]
    queries, labels = test.images.numpy()[order], test.labels.numpy()[order]
    async with (
        Cluster(LocalWorkers(workers), [deployment]) as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        await cluster.all_up(WAIT_S)
        await _asked(client, model, queries[: WARM_GROUPS * K])
        for law in (None, "sign-flip"):
            if law is not None:
                await client.set_faults(LIE, [LIAR])
            before = _totals(await client.status())
            answers, took_s = await _asked(client, model, queries)
            status = await client.status()
            spent = {name: total - before[name] for name, total in _totals(status).items()}
            p50, p99 = np.quantile(took_s, (0.5, 0.99))
            yield {
                "table": "live-liars", "dataset": dataset, "k": K, "n": SLOTS, "workers": workers,
                "recheck": recheck, "law": law, "images": len(labels), "seed": seed,
                "accuracy": float((answers.argmax(axis=1) == labels).mean()),
                "p50_ms": 1e3 * float(p50), "p99_ms": 1e3 * float(p99), **spent,
                "is_quarantined": _liar(status).state == "quarantined", **provenance(),
            }  # fmt: skip


async def _asked(
    client: kofn.AsyncClient, model: str, queries: np.ndarray
) -> tuple[np.ndarray, Sequence[float]]:
    """Answers, and the seconds of each group."""
    answers, took_s = [], []
    for start in range(0, len(queries), K):
        began = perf_counter()
        found = await client.infer(model, queries[start : start + K])
        took_s.append(perf_counter() - began)
        answers.append(found.outputs)
    return np.concatenate(answers), took_s


def _totals(status: control_pb2.Status) -> dict[str, int]:
    """What the master has counted so far, of the liar and of all others."""
    liar = _liar(status)
    return {
        "tasks": status.deployments[0].tasks_sent,
        "results": liar.results,
        "lies": liar.lies,
        "others": sum(worker.lies for worker in status.workers) - liar.lies,
    }


def _liar(status: control_pb2.Status) -> control_pb2.WorkerStatus:
    return next(worker for worker in status.workers if worker.name == LIAR)


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A record as a row of the table."""
    return (
        row["workers"], row["n"], f"{row['recheck']:g}", "honest" if row["law"] is None else "lies",
        row["images"], f"{row['accuracy']:.4f}", f"{row['p50_ms']:.0f}", f"{row['p99_ms']:.0f}",
        row["tasks"], row["results"], row["lies"], row["others"],
        "yes" if row["is_quarantined"] else "no",
    )  # fmt: skip
