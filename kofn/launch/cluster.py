"""A whole cluster: some launcher's workers, and one master over them, a process here.

The master runs on this machine whatever runs the workers. It needs the model store and the files
that a deployment names, which are here; its ports are this machine's; and it costs one process.
"""

import asyncio
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import yaml

from kofn.client.aio import AsyncClient
from kofn.launch.launcher import Launcher, Worker
from kofn.launch.process import ServiceProcess
from kofn.launch.stacked import Stacked
from kofn.wire.errors import Unavailable

MASTER_DRAIN_S = 10.0
MASTER_START_S = 600.0  # it calibrates first, on one core: a ResNet-18 takes 20 ms an image
LOOK_AGAIN_S = 0.5


@final
class Cluster(Stacked):
    """A master and workers; `async with` starts them and ends them, nothing stays behind.

    Args:
        launcher: who starts the workers.
        deployments: items of `deployments` of a deployment file.
        server: `server` of a deployment file; by default free ports of the loopback.
        workers_tls: `workers_tls` of a deployment file; None dials the workers in plaintext.
        store: model store; None is the user's own.
        folder: for logs, programs and the deployment file; None is a temporary one.
        master_flags: of `python -m master`.

    Raises (on entry):
        KofnError: a worker or the master did not start; with the end of its log.
    """

    def __init__(
        self,
        launcher: Launcher,
        deployments: Sequence[Mapping[str, Any]] = (),
        *,
        server: Mapping[str, Any] | None = None,
        workers_tls: str | Mapping[str, Any] | None = None,
        store: Path | None = None,
        folder: Path | None = None,
        master_flags: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.launcher = launcher
        self.address = ""  # of the master, once it serves
        self.metrics_address = ""
        self.folder = folder
        self._deployments = [dict(item) for item in deployments]
        self._server = {"port": 0, "metrics_port": 0, "drain_s": MASTER_DRAIN_S, **(server or {})}
        self._workers_tls = workers_tls
        self._store = store
        self._master_flags = tuple(master_flags)
        self._master: ServiceProcess

    @property
    def workers(self) -> list[Worker]:
        """The workers, by number."""
        return self.launcher.workers

    @property
    def master_pid(self) -> int:
        """Process id of the master."""
        return self._master.pid

    async def kill(self, worker: str) -> None:
        """SIGKILL a worker by its name; returns when it is dead. Raises NotFound."""
        await self.launcher.kill(worker)

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
                try:
                    states = [worker.state for worker in (await client.status()).workers]
                    if states.count("up") == len(self.workers):
                        return
                    await asyncio.wait({changed}, timeout=LOOK_AGAIN_S)
                finally:
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
        _check_ports(self._server)
        if self.folder is None:
            made = tempfile.TemporaryDirectory(prefix="kofn-")
            self.folder = Path(self._stack.enter_context(made))
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        await self._stack.enter_async_context(self.launcher.running(self.folder))
        file = self.folder / "deployment.yaml"
        settings = {
            "server": self._server,
            "workers": self.launcher.targets,
            "workers_tls": self._workers_tls,
            "deployments": self._deployments,
        }
        await asyncio.to_thread(file.write_text, yaml.safe_dump(settings, sort_keys=False))
        store = () if self._store is None else ("--store", str(self._store))
        self._master = ServiceProcess(
            "master",
            ["--config", str(file), *store, *self._master_flags],
            self.folder / "master.log",
        )
        ready = await self._master.start(MASTER_START_S)
        self._stack.push_async_callback(self._master.stop, 2 * MASTER_DRAIN_S)
        self.address, self.metrics_address = ready["address"], ready["metrics_address"]


def _check_ports(server: Mapping[str, Any]) -> None:
    """Refuse a taken port before anything is started; the master looks again.

    Raises:
        Unavailable: says which, and what can be done.
    """
    host = server.get("host", "127.0.0.1")
    for field in ("port", "metrics_port"):
        port = server[field]
        if not port:  # 0 takes a free one, None none
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind((host, port))
            except OSError as error:
                flag = f"--{field.replace('_', '-')}"
                raise Unavailable(
                    f"The master cannot listen on {host}:{port}: {error.strerror}. End what "
                    f"listens there, or choose another port: {flag} 0 takes a free one."
                ) from error
