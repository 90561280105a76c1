"""A deployment over scripted workers, without the client-facing edge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch

from codes.calibrated import Calibrated, measure_moments
from master.binding import Binding
from master.config import DeploymentConfig
from master.deployment import Deployment
from master.encoding import Encoder
from master.pool import Pool
from master.query import Request, Wishes
from models.programs import TensorSpec
from support.scripted import PROGRAM, ScriptedWorker, doubled, scripted_workers

QUERY = (1, 2, 2)
ANSWER = (2,)
PATIENCE_S = 10.0  # no test waits that long; it is the deadline of what should not fail


@dataclass
class Serving:
    """What a test may touch."""

    deployment: Deployment
    pool: Pool
    workers: list[ScriptedWorker]

    async def infer(
        self, rows: np.ndarray, timeout_s: float = PATIENCE_S, allow_partial: bool = False
    ) -> Request:
        """Ask for answers."""
        wishes = Wishes(deadline=monotonic() + timeout_s, allow_partial=allow_partial)
        return await self.deployment.infer(rows, wishes, self.deployment.policy)


def queries(count: int, seed: int = 0) -> np.ndarray:
    """[count, *QUERY] float32."""
    return np.random.default_rng(seed).random((count, *QUERY), np.float32)


def truth(rows: np.ndarray) -> np.ndarray:
    """What the uncoded program gives."""
    return doubled(rows)


@asynccontextmanager
async def serving(
    *workers: ScriptedWorker,
    code: dict[str, Any],
    policy: dict[str, Any] | str | None = None,
    batching: dict[str, Any] | None = None,
) -> AsyncIterator[Serving]:
    """A deployment of `doubled` over these workers, all of them up; calibrated, if it is said."""
    config = DeploymentConfig.model_validate(
        {
            "name": "doubled",
            "program": "scripted",
            "code": code,
            "policy": policy or {},
            "batching": {"max_delay_ms": 0, **(batching or {})},
        }
    )
    made = config.code.make()
    if config.code.calibrated:
        sample = torch.from_numpy(queries(400, seed=1))
        made = Calibrated(made, measure_moments(made, _doubled, sample))
    binding = Binding(
        code=made,
        encoder=Encoder(made),
        model=PROGRAM,
        programs=dict.fromkeys(made.roles, PROGRAM),
        archives={},
        query=TensorSpec("input", "FP32", QUERY),
        answer=TensorSpec("sums", "FP32", ANSWER),
        classes=(),
    )
    async with scripted_workers(*workers) as addresses:
        pool = Pool(addresses, lambda kind, subject, detail: None)
        running = asyncio.create_task(pool.run(), name="pool")
        try:
            assert await pool.wait_for_workers(len(workers), PATIENCE_S)
            yield Serving(Deployment(config, binding, pool), pool, list(workers))
        finally:
            for worker in workers:
                worker.gate.set()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running  # raises what ended it early


def _doubled(shard: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(doubled(shard.numpy()))
