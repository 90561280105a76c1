"""Workers on a Ray cluster: one actor a worker, which holds the worker's process on its node.

Ray chooses nodes, keeps GPUs apart and tells of nodes that are gone. No tensor passes through it:
the master dials the workers as everywhere. A worker whose actor or node is gone is placed anew and
has another address; so the master is given a file of addresses, which is written at every change.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kofn.launch.host import Host
from kofn.launch.launcher import OnDeath, WatchedWorkers, Worker, numbered
from kofn.wire.errors import FailedPrecondition, KofnError, Unavailable

PLACE_S = 120.0  # a node's first actor, and importing torch there
CONNECT_S = 5.0
PAUSE_S = 0.5  # before a worker is started again
LOST = -1  # exit status of a worker that is gone with its actor or its node


class RayWorkers(WatchedWorkers):
    """Actors, spread over the nodes of the Ray cluster that RAY_ADDRESS names.

    Where it names none, it is this machine's, started at need. kofn must be installed on the nodes.

    Args:
        count: how many; each takes a CPU, and on the device "cuda" a GPU.
        device: "cpu" or "cuda"; Ray chooses which GPU.
        flags: of `python -m worker`, for all of them.
        on_death: told of each worker that died, or is gone with its node.
    """

    def __init__(
        self,
        count: int,
        *,
        device: str = "cpu",
        flags: Sequence[str] = (),
        on_death: OnDeath = lambda name, status: None,
    ) -> None:
        super().__init__(numbered(count))
        kind = device.partition(":")[0]
        self._flags = ("--device", kind, *flags)
        self._gpus = 0 if kind == "cpu" else 1
        self._on_death = on_death
        self._actors: dict[str, Any] = {}  # by the worker's name
        self._ray: Any = None  # the module, connected
        self._addresses: Path

    @property
    def targets(self) -> list[str]:
        """See `Launcher`."""
        return [f"file:{self._addresses}"]

    async def kill(self, name: str) -> None:
        """See `Launcher`; it comes back by itself."""
        await self._ask(name, "kill")

    async def restart(self, name: str) -> None:
        """See `Launcher`; who watches it starts it again."""
        await self._ask(name, "stop")

    async def logs(self, name: str) -> str:
        """See `Launcher`; of its processes on the node where it is now."""
        return str(await self._ask(name, "logs"))

    async def _start(self, folder: Path) -> None:
        self._addresses = (folder / "workers.txt").resolve()
        self._ray = await asyncio.to_thread(_connected)
        # Ray has put its own handler of SIGTERM in place, which aborts the process.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        self._write()
        await self._launch_and_watch()

    async def _launch(self, worker: Worker) -> None:
        """Start its process, in its actor where that is alive, else in a new one.

        Raises:
            Unavailable: no node has room for it, or it did not start there.
        """
        errors = self._ray.exceptions
        try:
            async with asyncio.timeout(PLACE_S):
                try:
                    actor = self._actors.get(worker.name) or self._place(worker)
                    worker.address = await actor.start.remote()
                except errors.RayActorError:
                    worker.address = await self._place(worker).start.remote()
        except TimeoutError:
            raise Unavailable(
                f"The Ray cluster has found no place for {worker.name} in {PLACE_S:.0f} s: each "
                f"worker takes a CPU{' and a GPU' if self._gpus else ''}. Ask for fewer workers, "
                "or add nodes."
            ) from None
        except errors.RayTaskError as error:
            raise Unavailable(str(error.cause)) from error
        except errors.RayError as error:
            raise Unavailable(
                f"The Ray cluster lost {worker.name} at its start: {error}"
            ) from error
        self._write()

    def _place(self, worker: Worker) -> Any:
        if (gone := self._actors.get(worker.name)) is not None:
            self._ray.kill(gone)
        kind = self._ray.remote(Host).options(
            name=f"kofn {worker.name}",
            num_cpus=1,
            num_gpus=self._gpus,
            scheduling_strategy="SPREAD",
        )
        actor = self._actors[worker.name] = kind.remote(worker.name, self._flags)
        return actor

    async def _watch(self, worker: Worker) -> None:
        while True:
            try:
                status = await self._actors[worker.name].wait.remote()
            except self._ray.exceptions.RayError:
                status = LOST
            self._on_death(worker.name, status)
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(KofnError):  # the next try follows
                await self._launch(worker)
            worker.restarts += 1

    def _write(self) -> None:
        draft = self._addresses.with_suffix(".draft")
        known = [
            f"{worker.address}  # {worker.name}\n" for worker in self.workers if worker.address
        ]
        draft.write_text("".join(known))
        draft.replace(self._addresses)  # appears whole

    async def _ask(self, name: str, what: str) -> Any:
        actor = self._actors[self._named(name).name]
        try:
            return await getattr(actor, what).remote()
        except self._ray.exceptions.RayError as error:
            raise Unavailable(f"{name} is gone, with its node or its actor: {error}") from error

    async def _end(self) -> None:
        await self._watch_no_more()
        if self._ray is not None:
            for actor in self._actors.values():
                self._ray.kill(actor)  # its process ends with it
            await asyncio.to_thread(self._ray.shutdown)


def _connected() -> Any:
    """The module `ray`, once it is connected to a cluster; raises FailedPrecondition."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports on its users
    # The default to come; until it does, Ray warns at every start.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise FailedPrecondition(
            "The backend ray needs the package ray: pip install 'kofn[ray]'."
        ) from error
    address = os.environ.get("RAY_ADDRESS", "")
    host, colon, port = address.rpartition(":")
    try:
        if colon:  # asked first: Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_S).close()
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise FailedPrecondition(
            f"No Ray cluster answers at {address or 'this machine'}: {error}. Start one with `ray "
            "start --head`, and name it by RAY_ADDRESS=HOST:PORT."
        ) from error
    return ray
