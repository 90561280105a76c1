"""Workers in containers, of `kofn up --backend docker` and of Compose projects alike.

They are found by their labels, not by asking a master: it forgets a worker that is gone long
enough, and that is just the one to be started again.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from kofn.chaos.chaos import Chaos
from kofn.launch.engine import ADDRESS, CLUSTER, ROLE, WORKER, Engine
from kofn.wire.errors import NotFound

PROJECT = "com.docker.compose.project"  # labels that Compose sets
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
STACK = "com.docker.stack.namespace"  # label that a Swarm sets

END_S = 10  # to drain before a restart
NANO = 10**9


class Containers(Chaos):
    """The worker containers of one cluster.

    Args:
        engine: that runs them.
        cluster: its name: `kofn up` prints it, Compose calls it the project.
    """

    def __init__(self, engine: Engine, cluster: str) -> None:
        super().__init__()
        self.cluster = cluster
        self._engine = engine
        self._limits: dict[str, int] = {}  # by container: its own limit, before ours; 0 is none

    async def workers(self) -> list[str]:
        """See `Chaos`; the names by which a master knows them."""
        return [_own_name(container) for container in await self._all()]

    async def close(self) -> None:
        """See `Chaos`."""
        self._engine.close()

    async def process_ids(self) -> dict[str, int]:
        """Of the containers that run, their first processes' ids on the engine's machine."""
        running = [c for c in await self._all() if c.status in ("running", "paused")]
        return {_own_name(c): int(c.attrs["State"]["Pid"]) for c in running}

    async def _all(self) -> list[Any]:
        found = await containers(self._engine)
        return [container for container in found if cluster_of(container) == self.cluster]

    async def _act(self, worker: str, kind: str, cpus: float | None) -> None:
        every = await self._all()
        for container in every:
            if worker in _names(container):
                if kind == "limit-cpu":
                    limit = container.attrs["HostConfig"]["NanoCpus"]
                    self._limits.setdefault(container.id, limit)
                if kind == "unlimit-cpu":
                    cpus = self._limits.pop(container.id, 0) / NANO
                await self._engine.call(_do, self._engine.client, container, kind, cpus)
                return
        known = ", ".join(sorted(_own_name(container) for container in every)) or "none"
        raise NotFound(f"{self.cluster} has no worker {worker!r}; it has: {known}.")


async def containers(engine: Engine) -> list[Any]:
    """All worker containers of an engine, whatever their state."""
    found: list[Any] = await engine.call(
        engine.client.containers.list,
        all=True,
        filters={"label": f"{ROLE}=worker"},
        ignore_removed=True,
    )
    return found


def cluster_of(container: Any) -> str:
    """The name of the cluster that a container is of."""
    labels: Mapping[str, str] = container.labels
    return labels.get(CLUSTER) or labels.get(PROJECT) or labels.get(STACK, "")


def has_address(container: Any, host: str) -> bool:
    """Whether a master would reach a container by this host."""
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    fixed = container.labels.get(ADDRESS, "").rpartition(":")[0]
    return host in {fixed, *(network["IPAddress"] for network in networks)}


def _own_name(container: Any) -> str:
    """What the worker tells masters: what it is called, else its host's name."""
    return str(container.labels.get(WORKER) or container.attrs["Config"]["Hostname"])


def _names(container: Any) -> set[str]:
    """All that a person may call it."""
    labels = container.labels
    numbered = f"{labels.get(SERVICE)}-{labels.get(NUMBER)}"
    return {_own_name(container), container.name, container.short_id, numbered}


def _do(client: Any, container: Any, kind: str, cpus: float | None) -> None:
    """One action, in a thread; nothing is done where it is so already."""
    is_paused = container.status == "paused"
    match kind:
        case "pause" if not is_paused:
            container.pause()
        case "unpause" if is_paused:
            container.unpause()
        case "kill" if container.status in ("running", "paused"):
            container.kill()
        case "restart":
            if is_paused:
                container.unpause()
            container.restart(timeout=END_S)
        case "disconnect":
            for name in container.attrs["NetworkSettings"]["Networks"]:
                client.networks.get(name).disconnect(container, force=True)
        case "connect" if not container.attrs["NetworkSettings"]["Networks"]:
            _connect(client, container)
        case "limit-cpu" | "unlimit-cpu":
            # A limit cannot be taken away; all CPUs of the machine are none.
            _limit(client, container, cpus or client.info()["NCPU"])


def _connect(client: Any, container: Any) -> None:
    """To the network that it was made for, at the address and by the name that it had there."""
    network = client.networks.get(container.attrs["HostConfig"]["NetworkMode"])
    options: dict[str, Any] = {}
    if fixed := container.labels.get(ADDRESS):
        options["ipv4_address"] = fixed.rpartition(":")[0]
    if service := container.labels.get(SERVICE):
        options["aliases"] = [service]  # the name that stands for all workers
    network.connect(container, **options)


def _limit(client: Any, container: Any, cpus: float) -> None:
    # The SDK's own `update` sets a quota, which the engine refuses for a container that was made
    # with a number of CPUs, as Compose makes it where a limit is set.
    api = client.api
    told = api._post_json(
        api._url("/containers/{0}/update", container.id), data={"NanoCpus": int(cpus * NANO)}
    )
    with contextlib.closing(told):
        api._raise_for_status(told)
