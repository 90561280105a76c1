"""A small cluster inside the test's own process: real gRPC on loopback, real programs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kofn.tracing import Tracing
from master.config import MasterConfig
from master.server import MasterServer
from models.store import Store
from worker.config import WorkerConfig
from worker.server import WorkerServer


@dataclass
class Cluster:
    """What a test may touch."""

    master: MasterServer
    workers: list[WorkerServer]


@asynccontextmanager
async def cluster(
    folder: Path,
    store: Store,
    deployments: list[dict[str, Any]],
    workers: int = 6,
    tracing: Tracing | None = None,
    worker: dict[str, Any] | None = None,
    **master: Any,
) -> AsyncIterator[Cluster]:
    """A master with these deployments over that many workers, all in this process.

    Args:
        folder: for the workers' caches.
        store: the master's.
        deployments: items of a deployment file.
        workers: how many.
        tracing: where spans go.
        worker: further settings of each.
        master: further keys of the deployment file; `token` is the control service's.
    """
    token = master.pop("token", None)
    server = {"port": 0, "metrics_port": 0, "drain_s": 1, **master.pop("server", {})}
    async with AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(
                WorkerServer(WorkerConfig.model_validate(settings), tracing)
            )
            for settings in (
                {"name": f"worker-{i}", "port": 0, "cache": folder / f"cache-{i}", **(worker or {})}
                for i in range(workers)
            )
        ]
        config = MasterConfig.model_validate(
            {
                "server": server,
                "workers": [worker.address for worker in running],
                "deployments": deployments,
                **master,
            }
        )
        serving = await stack.enter_async_context(MasterServer(config, store, tracing, token))
        yield Cluster(serving, running)
