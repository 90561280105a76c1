"""Workers in containers of a Docker engine on this machine, on a network of their own.

The master, a process on this machine, reaches them by the addresses of their network, with no
published port and no proxy in between: a container that is paused or cut off is as silent as a
machine that is. Addresses are fixed for the cluster's life, so that a restart or a new connection
to the network keeps them. Where the engine runs in a machine of its own (Docker Desktop), those
addresses cannot be reached: `docker compose up` is for there.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from kofn.launch.engine import ADDRESS, CLUSTER, IN_ORDER, ROLE, WORKER, Engine, packed
from kofn.launch.launcher import Launcher, OnDeath, Worker, numbered, together
from kofn.launch.process import CHILD_ENVIRONMENT, LOG_TAIL_BYTES, START_S
from kofn.wire.errors import FailedPrecondition, KofnError, Unavailable
from kofn.wire.tls import Tls

IMAGE = "kofn:latest"
TLS_ABOVE, TLS_NAME = "/run", "kofn-tls"  # in a container; every image has the folder above
PORT = 9000
LOOK_AGAIN_S = 0.2
RESTARTS = 1000  # by the engine, of a worker that ends with an error; it waits longer each time
REAPER_S = 60.0  # hundreds of containers on a busy machine
CONNECT_S = 1.0
MOST_WORKERS = 256

P = ParamSpec("P")
T = TypeVar("T")


class DockerWorkers(Launcher):
    """Containers that the engine starts again when their process dies, but not when it was killed.

    Args:
        count: how many.
        image: it holds kofn; workers of all backends are the same program.
        device: "cpu"; "cuda" gives worker i the GPU i, "cuda:1" gives all of them that one.
        flags: of `python -m worker`, for all of them.
        tls: folder of the files that workers speak TLS with; each container gets a copy.
        on_death: told of each worker that died.
    """

    def __init__(
        self,
        count: int,
        *,
        image: str = IMAGE,
        device: str = "cpu",
        flags: Sequence[str] = (),
        tls: Path | None = None,
        on_death: OnDeath = lambda name, status: None,
    ) -> None:
        super().__init__(numbered(count))
        self.cluster = f"kofn-{secrets.token_hex(3)}"
        self._image = image
        self._device = device
        self._flags = tuple(flags)
        self._tls = tls
        self._on_death = on_death
        self._containers: dict[str, Any] = {}  # by the worker's name
        self._engine: Engine | None = None
        self._reaper: asyncio.subprocess.Process | None = None
        self._events: Any = None  # the engine's, of this cluster
        self._listening: Thread | None = None
        self._folder: Path
        self._files: bytes | None = None  # of TLS, as the engine takes them

    async def kill(self, name: str) -> None:
        """See `Launcher`; it stays dead until `restart`."""
        await self._call(self._container(name).kill)

    async def restart(self, name: str) -> None:
        """See `Launcher`."""
        container = self._container(name)
        await self._call(container.restart, timeout=3)
        self._named(name).restarts += 1

    async def logs(self, name: str) -> str:
        """See `Launcher`."""
        text: bytes = await self._call(self._container(name).logs)
        return text.decode(errors="replace")

    async def _start(self, folder: Path) -> None:
        self._folder = folder
        if self._tls is not None:
            tls = await asyncio.to_thread(Tls.in_folder, self._tls)
            files = filter(None, (tls.certificate, tls.key, tls.authority))
            self._files = await asyncio.to_thread(packed, TLS_NAME, files)
        self._engine = await asyncio.to_thread(Engine)
        await self._find_image()
        self._reaper = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kofn.launch.reaper", self.cluster,
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is not for it
        )  # fmt: skip
        network, addresses = await self._call(_network, self._engine.client, self.cluster)
        if len(addresses) < len(self.workers):
            raise FailedPrecondition(
                f"The Docker engine's networks have room for {len(addresses)} containers, not for "
                f"{len(self.workers)}: ask for fewer, or give it larger default-address-pools."
            )
        for worker, host in zip(self.workers, addresses, strict=False):
            worker.address = f"{host}:{PORT}"
        await self._listen()
        await together(self._launch(worker, network) for worker in self.workers)

    async def _find_image(self) -> None:
        from docker.errors import ImageNotFound

        def find() -> None:
            assert self._engine is not None
            with contextlib.suppress(ImageNotFound):
                self._engine.client.images.get(self._image)
                return
            raise FailedPrecondition(
                f"There is no image {self._image} here; build it in a checkout with "
                f"`docker build -t {self._image} .`, or name another with --image."
            )

        await self._call(find)

    async def _launch(self, worker: Worker, network: Any) -> None:
        container = await self._call(self._create, worker, network)
        self._containers[worker.name] = container
        await self._call(container.start)
        host, _, port = worker.address.rpartition(":")
        try:
            async with asyncio.timeout(START_S):
                while not await _listens(host, int(port)):
                    await self._call(container.reload)
                    if container.status != "running":
                        raise Unavailable(
                            f"{worker.name} did not start:\n{await self._last_words(worker)}"
                        )
                    await asyncio.sleep(LOOK_AGAIN_S)
        except TimeoutError:
            raise Unavailable(
                f"{worker.name} cannot be reached at {worker.address}:\n"
                f"{await self._last_words(worker)}"
            ) from None

    def _create(self, worker: Worker, network: Any) -> Any:
        assert self._engine is not None
        client = self._engine.client
        host = worker.address.rpartition(":")[0]
        fixed = client.api.create_endpoint_config(ipv4_address=host)
        tls = () if self._files is None else ("--tls", f"{TLS_ABOVE}/{TLS_NAME}")
        command = [
            "--name", worker.name, "--host", "0.0.0.0", "--port", str(PORT),
            "--device", self._device.partition(":")[0], *tls, *self._flags,
        ]  # fmt: skip
        container = client.containers.create(
            self._image,
            command,
            entrypoint=["python", "-m", "worker"],
            name=f"{self.cluster}-{worker.name}",
            hostname=worker.name,
            environment=CHILD_ENVIRONMENT | _traces(),
            labels={
                CLUSTER: self.cluster,
                ROLE: "worker",
                WORKER: worker.name,
                ADDRESS: worker.address,
            },
            network=network.name,
            networking_config={network.name: fixed},
            device_requests=self._gpus(worker),
            init=True,  # passes signals on: a worker that still starts ends at once
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            restart_policy={"Name": "on-failure", "MaximumRetryCount": RESTARTS},
        )
        if self._files is not None:
            container.put_archive(TLS_ABOVE, self._files)
        return container

    def _gpus(self, worker: Worker) -> list[Any]:
        from docker.types import DeviceRequest

        kind, _, number = self._device.partition(":")
        if kind == "cpu":
            return []
        chosen = number or worker.name.rpartition("-")[2]
        return [DeviceRequest(device_ids=[chosen], capabilities=[["gpu"]])]

    async def _listen(self) -> None:
        """Hear of deaths in a thread of its own, which ends with the stream of events."""
        assert self._engine is not None
        label = {"label": f"{CLUSTER}={self.cluster}"}
        self._events = await self._call(self._engine.client.events, decode=True, filters=label)
        loop = asyncio.get_running_loop()
        self._listening = Thread(target=self._hear, args=(loop, self._events), daemon=True)
        self._listening.start()

    def _hear(self, loop: asyncio.AbstractEventLoop, events: Any) -> None:
        for event in events:
            if event.get("Action") == "die":
                told = event["Actor"]["Attributes"]
                loop.call_soon_threadsafe(self._on_death, told[WORKER], int(told["exitCode"]))

    async def _end(self) -> None:
        if self._events is not None:
            self._events.close()
        if self._listening is not None:
            await asyncio.to_thread(self._listening.join)
        if self._engine is None:
            return
        with contextlib.suppress(KofnError):  # an engine that is gone has no logs
            await asyncio.gather(*(self._keep_log(name) for name in self._containers))
        await self._engine.settle()
        self._engine.close()
        if self._reaper is not None:
            await self._reap(self._reaper)

    async def _reap(self, reaper: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(REAPER_S):
                await reaper.communicate(IN_ORDER)
        except TimeoutError:
            reaper.kill()
            await reaper.wait()
        if reaper.returncode:
            raise Unavailable(
                f"The containers of {self.cluster} could not be removed; `kofn down "
                f"{self.cluster}` tries again."
            )

    async def _keep_log(self, name: str) -> None:
        log = self._folder / f"{name}.log"
        await asyncio.to_thread(log.write_text, await self.logs(name))

    async def _last_words(self, worker: Worker) -> str:
        return (await self.logs(worker.name))[-LOG_TAIL_BYTES:]

    def _container(self, name: str) -> Any:
        return self._containers[self._named(name).name]

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert self._engine is not None
        return await self._engine.call(function, *args, **kwargs)


def _traces() -> dict[str, str]:
    """OpenTelemetry's own variables: containers inherit none."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


def _network(client: Any, cluster: str) -> tuple[Any, list[str]]:
    """A network of its own, and the addresses that containers may have on it.

    Fixed addresses need a network whose subnet is given; the engine knows which ones are free, so
    it is asked for any, and then for that one.
    """
    from docker.types import IPAMConfig, IPAMPool

    labels = {CLUSTER: cluster}
    found = client.networks.create(cluster, labels=labels)
    found.reload()
    subnet = found.attrs["IPAM"]["Config"][0]["Subnet"]
    found.remove()
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
    made = client.networks.create(cluster, ipam=pools, labels=labels)
    hosts = ipaddress.ip_network(subnet).hosts()
    next(hosts)  # the engine's own: the gateway
    return made, [str(host) for host in itertools.islice(hosts, MOST_WORKERS)]


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
