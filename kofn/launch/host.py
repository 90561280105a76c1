"""What an actor of a Ray cluster holds: a worker's process on the actor's node."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from kofn.launch.process import ServiceProcess

STOP_S = 6.0


class Host:
    """One worker; its process ends with the actor's.

    Args:
        name: of the worker.
        flags: of `python -m worker`.
    """

    def __init__(self, name: str, flags: Sequence[str]) -> None:
        made = self._folder = tempfile.TemporaryDirectory(prefix="kofn-")
        self._log = Path(made.name) / "log"
        cache = str(Path(made.name) / "programs")
        self._arguments = ["--name", name, "--cache", cache, *flags]
        self._process: ServiceProcess
        self._port = "0"

    async def start(self) -> str:
        """Start the process, again at the same port; returns its address once it serves.

        Raises:
            Unavailable: it did not start; with the end of its log.
        """
        import ray

        here = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        where = ["--host", here, "--port", self._port]
        self._process = ServiceProcess("worker", [*self._arguments, *where], self._log)
        address = str((await self._process.start())["address"])
        self._port = address.rpartition(":")[2]
        return address

    async def wait(self) -> int:
        """Wait for the end of the process; returns its exit status."""
        return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL it."""
        await self._process.kill()

    async def stop(self) -> None:
        """Ask it to drain and end."""
        await self._process.stop(STOP_S)

    async def logs(self) -> str:
        """What its processes have logged."""
        return self._log.read_text(errors="replace")
