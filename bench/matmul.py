"""Coded products beside an uncoded one and NumPy, on the same cores, with a straggler.

Workers are processes here. The straggler takes ten times as long as others take: that is measured
first, on the uncoded product with no straggler, as the median time in service that the workers
tell, and nine times as much is injected as a delay. The uncoded product is a grid of blocks, one a
worker, all of which are needed. Variants take turns.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import grpc
import numpy as np

from kofn.launch import LocalWorkers
from kofn.matrices import Answer, MatrixWorker, PolyDot
from kofn.matrices.polydot import connected
from kofn.wire import channels, worker_pb2, worker_pb2_grpc

STRAGGLER = 0  # the worker that is slow
TIMES = 10.0  # as slow as the others
TIMEOUT_S = 600.0
TITLES = ("what", "workers", "waits for", "seconds", "of all turns", "relative error")


@dataclass(frozen=True)
class Setting:
    """What is multiplied, and by whom."""

    size: int
    workers: int
    turns: int


async def measure(setting: Setting) -> list[dict[str, Any]]:
    """One record a variant."""
    noise = np.random.default_rng(0)
    a, b = (noise.standard_normal((setting.size,) * 2, np.float32) for _ in range(2))
    began = perf_counter()
    truth = a @ b
    norm = float(np.linalg.norm(truth))
    took: dict[str, list[float]] = {"numpy": [perf_counter() - began], "uncoded": [], "coded": []}
    errors: dict[str, float] = {"numpy": 0.0}
    grid = _grid(setting.workers)
    needed = {"numpy": 0, "uncoded": setting.workers}
    launcher = LocalWorkers(setting.workers, flags=("--matrices-mb", "4096"))
    with tempfile.TemporaryDirectory(prefix="kofn-") as folder:
        async with launcher.running(Path(folder)):
            addresses = [worker.address for worker in launcher.workers]
            async with connected(addresses, None) as workers:
                await _uncoded(workers, a, b, grid)  # the first touches all memory
                answers = await _uncoded(workers, a, b, grid)
                usual_s = median(answer.compute_s for answer in answers)
                delay_s = (TIMES - 1) * usual_s
                await _slow(addresses[STRAGGLER], delay_s)
                for _ in range(setting.turns):
                    began = perf_counter()
                    c = _joined(await _uncoded(workers, a, b, grid), grid)
                    took["uncoded"].append(perf_counter() - began)
                    errors["uncoded"] = float(np.linalg.norm(c - truth)) / norm
                    began = perf_counter()
                    done = await PolyDot(workers=addresses, timeout_s=TIMEOUT_S).matmul_async(a, b)
                    took["coded"].append(perf_counter() - began)
                    errors["coded"] = float(np.linalg.norm(done.product - truth)) / norm
                    needed["coded"] = done.report.code.node_threshold
                    began = perf_counter()
                    truth = a @ b
                    took["numpy"].append(perf_counter() - began)
    common = {
        "size": setting.size, "turns": setting.turns, "usual_s": usual_s, "delay_s": delay_s,
        "code": repr(done.report.code), "estimate": done.estimate,
    }  # fmt: skip
    return [
        {
            **common,
            "what": what,
            "workers": 0 if what == "numpy" else setting.workers,
            "needed": needed[what],
            "seconds": median(took[what]),
            "all_s": took[what],
            "error": errors[what],
        }
        for what in took
    ]


def cells(record: dict[str, Any]) -> tuple[object, ...]:
    """A record as a row of `TITLES`."""
    every = ", ".join(f"{one:.2f}" for one in record["all_s"])
    return (
        record["what"], record["workers"] or "–", record["needed"] or "–",
        f"{record['seconds']:.2f}", every, f"{record['error']:.1e}",
    )  # fmt: skip


def _grid(workers: int) -> tuple[int, int]:
    """The squarest grid of as many blocks."""
    rows = max(one for one in range(1, int(workers**0.5) + 1) if workers % one == 0)
    return rows, workers // rows


async def _uncoded(
    workers: Sequence[MatrixWorker], a: Any, b: Any, grid: tuple[int, int]
) -> list[Answer]:
    """Every block by its worker; all are waited for."""
    blocks = [
        (rows, columns)
        for rows in np.array_split(a, grid[0], axis=0)
        for columns in np.array_split(b, grid[1], axis=1)
    ]
    return await asyncio.gather(
        *(
            worker.multiply(rows, columns, TIMEOUT_S)
            for worker, (rows, columns) in zip(workers, blocks, strict=True)
        )
    )


def _joined(answers: Sequence[Answer], grid: tuple[int, int]) -> Any:
    rows, columns = grid
    blocks = [answer.array for answer in answers]
    return np.block([blocks[i * columns : (i + 1) * columns] for i in range(rows)])


async def _slow(address: str, delay_s: float) -> None:
    """Have a worker be late; a delay ends with the call that it is in."""
    law = f'{{"delay": {{"law": "constant", "value_ms": {1e3 * delay_s}, "interruptible": true}}}}'
    async with channels.worker_channel(address) as channel:
        stub: Any = worker_pb2_grpc.WorkerStub(channel)
        call: grpc.aio.UnaryUnaryCall[Any, Any] = stub.SetFaults(
            worker_pb2.SetFaultsRequest(faults_json=law), timeout=TIMEOUT_S
        )
        await call
