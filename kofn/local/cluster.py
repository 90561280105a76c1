"""A whole cluster of processes on this machine: workers, and one master over them."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml

from kofn.client.aio import AsyncClient
from kofn.local.process import ServiceProcess
from kofn.local.workers import LocalWorker, LocalWorkers
from kofn.wire.errors import Unavailable

MASTER_DRAIN_S = 10.0
LOOK_AGAIN_S = 0.5


class LocalCluster:
    """A master and workers; `async with` starts them and ends them, nothing stays behind.

    Args:
        workers: how many worker processes.
        deployments: items of `deployments` of a deployment file.
        server: `server` of a deployment file; by default free ports of the loopback.
        store: model store; None is the user's own.
        folder: for logs, programs and the deployment file; None is a temporary one.
        worker_flags: of `python -m worker`, for all of them.
        restart: start a worker again that died.
        on_death: told the name and exit status of a worker that died.

    Raises (on entry):
        Unavailable: a process did not start; with the end of its log.
    """

    def __init__(
        self,
        workers: int,
        deployments: Sequence[Mapping[str, Any]] = (),
        *,
        server: Mapping[str, Any] | None = None,
        store: Path | None = None,
        folder: Path | None = None,
        worker_flags: Sequence[str] = (),
        restart: bool = True,
        on_death: Callable[[str, int], None] = lambda name, status: None,
    ) -> None:
        self.address = ""  # of the master, once it serves
        self.metrics_address = ""
        self.folder = folder
        self._deployments = [dict(item) for item in deployments]
        self._server = {"port": 0, "metrics_port": 0, "drain_s": MASTER_DRAIN_S, **(server or {})}
        self._store = store
        self._stack = AsyncExitStack()
        self._master: ServiceProcess
        self._launched = (workers, tuple(worker_flags), restart, on_death)
        self._workers: LocalWorkers

    async def __aenter__(self) -> "LocalCluster":
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    @property
    def workers(self) -> list[LocalWorker]:
        """The workers, by number."""
        return self._workers.all

    @property
    def master_pid(self) -> int:
        """Process id of the master."""
        return self._master.pid

    async def kill(self, worker: str) -> None:
        """SIGKILL a worker by its name; returns when it is dead. Raises NotFound."""
        process = self._workers.named(worker).process
        if process is not None:
            await process.kill()

    async def all_up(self, timeout_s: float) -> None:
        """Wait until the master sends tasks to every worker.

        Raises:
            TimeoutError: they were not all up in time.
        """
        async with asyncio.timeout(timeout_s), AsyncClient(self.address) as client:
            while True:
                # Events tell of changes from the moment when the master hears of the watcher; one
                # that came just before is seen by looking again.
                changed = asyncio.ensure_future(anext(client.events()))
                states = [worker.state for worker in (await client.status()).workers]
                if states == ["up"] * len(self.workers):
                    changed.cancel()
                    await asyncio.gather(changed, return_exceptions=True)
                    return
                await asyncio.wait({changed}, timeout=LOOK_AGAIN_S)
                changed.cancel()
                await asyncio.gather(changed, return_exceptions=True)

    async def wait(self) -> None:
        """Wait until the master ends, which it should not.

        Raises:
            Unavailable: it has ended.
        """
        status = await self._master.wait()
        raise Unavailable(f"The master ended with status {status}; see {self.folder}/master.log.")

    async def _start(self) -> None:
        if self.folder is None:
            made = tempfile.TemporaryDirectory(prefix="kofn-")
            self.folder = Path(self._stack.enter_context(made))
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        count, flags, restart, on_death = self._launched
        self._workers = await self._stack.enter_async_context(
            LocalWorkers(count, self.folder, flags=flags, restart=restart, on_death=on_death)
        )
        file = self.folder / "deployment.yaml"
        settings = {
            "server": self._server,
            "workers": self._workers.addresses,
            "deployments": self._deployments,
        }
        await asyncio.to_thread(file.write_text, yaml.safe_dump(settings, sort_keys=False))
        store = () if self._store is None else ("--store", str(self._store))
        self._master = ServiceProcess(
            "master", ["--config", str(file), *store], self.folder / "master.log"
        )
        ready = await self._master.start()
        self._stack.push_async_callback(self._master.stop, 2 * MASTER_DRAIN_S)
        self.address, self.metrics_address = ready["address"], ready["metrics_address"]
