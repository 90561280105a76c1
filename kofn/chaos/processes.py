"""Workers that are processes of this machine, as `kofn up` starts them: signals."""

import signal
from ipaddress import ip_address

import psutil

from kofn.chaos.chaos import Chaos
from kofn.client.aio import AsyncClient
from kofn.wire import control_pb2
from kofn.wire.errors import InvalidArgument, NotFound, Unavailable

SIGNALS = {
    "pause": signal.SIGSTOP,
    "unpause": signal.SIGCONT,
    "kill": signal.SIGKILL,
    "restart": signal.SIGTERM,  # it drains; who watches over it starts it again
}


class Processes(Chaos):
    """The processes of a master's workers; those of `kofn up` come back when they end.

    Args:
        client: of the master, which knows each worker's process id.
    """

    remedies = {"pause": "unpause"}  # noqa: RUF012 - as annotated in `Chaos`

    def __init__(self, client: AsyncClient) -> None:
        super().__init__()
        self._client = client

    async def workers(self) -> list[str]:
        """See `Chaos`."""
        return [worker.name for worker in (await self._client.status()).workers]

    async def close(self) -> None:
        """See `Chaos`; the client is the caller's."""

    async def _act(self, worker: str, kind: str, cpus: float | None) -> None:
        if kind not in SIGNALS:
            raise InvalidArgument(
                f"{kind} needs workers in containers (kofn up --backend docker, or docker compose "
                f"up); processes take {', '.join(SIGNALS)}."
            )
        known = {told.name: told for told in (await self._client.status()).workers}
        if worker not in known:
            raise NotFound(f"There is no worker {worker!r}; there are: {', '.join(known)}.")
        process = _process(known[worker])
        if kind == "restart":
            process.send_signal(signal.SIGCONT)  # a stopped one could not end
        process.send_signal(SIGNALS[kind])


def is_here(address: str) -> bool:
    """Whether a worker's address is of this machine's loopback."""
    try:
        return ip_address(address.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False


def _process(told: control_pb2.WorkerStatus) -> psutil.Process:
    """Its process, where that lives here and is a worker: ids are used again."""
    try:
        process = psutil.Process(told.process_id)
        command = process.cmdline()
    except psutil.Error:
        command = []
    if not is_here(told.address) or "worker" not in command:
        raise Unavailable(f"{told.name} has no process here at this moment.")
    return process
