"""A whole master in this process over scripted workers: the edges that clients see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import kofn
from master.config import MasterConfig
from master.server import MasterServer
from models.store import Store
from support.scripted import ScriptedWorker, scripted_workers


class Doubled(nn.Module):
    """The network whose program the scripted workers pretend to run."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sums = images.flatten(1).sum(dim=1, keepdim=True)
        return torch.cat([2 * sums, -sums], dim=1)


@dataclass
class Live:
    """What a test may touch."""

    master: MasterServer
    client: kofn.AsyncClient
    workers: list[ScriptedWorker]


def deployment(archive: Path, **changes: Any) -> dict[str, Any]:
    """A parity code over the program."""
    return {
        "name": "doubled",
        "program": str(archive),
        "code": {"name": "parity", "k": 2, "n": 3},
        "policy": {"wait": "soft", "soft_deadline": "1ms"},
        "batching": {"max_delay_ms": 0, "max_request_rows": 64},
        "timeout_ms": 5000,
        **changes,
    }


@asynccontextmanager
async def live(archive: Path, *deployments: dict[str, Any]) -> AsyncIterator[Live]:
    """Three workers that lack the program, a master, a client."""
    async with (
        unstarted(archive, *deployments) as (master, workers),
        master,
        kofn.AsyncClient(master.address) as client,
    ):
        yield Live(master, client, workers)


@asynccontextmanager
async def unstarted(
    archive: Path, *deployments: dict[str, Any]
) -> AsyncIterator[tuple[MasterServer, list[ScriptedWorker]]]:
    """The workers, and a master of theirs that is yet to be entered."""
    workers = [ScriptedWorker(f"w{i}", programs=[]) for i in range(3)]
    async with scripted_workers(*workers) as addresses:
        config = MasterConfig.model_validate(
            {
                "server": {"port": 0, "metrics_port": 0, "drain_s": 1},
                "workers": addresses,
                "deployments": list(deployments or [deployment(archive)]),
            }
        )
        yield MasterServer(config, Store(archive.parent / "store")), workers
