"""Whose workers are meant: a master's, or those of a cluster of containers by its name."""

import asyncio

from kofn.chaos.chaos import Chaos
from kofn.chaos.containers import Containers, cluster_of, containers, has_address
from kofn.chaos.processes import Processes, is_here
from kofn.client.aio import AsyncClient
from kofn.launch.engine import Engine
from kofn.wire.errors import NotFound


async def find(client: AsyncClient, cluster: str | None = None) -> Chaos:
    """What can harm these workers.

    Args:
        client: of the master whose workers are meant, where `cluster` is None.
        cluster: a name that containers carry as a label.

    Raises:
        NotFound: no containers carry that name, or it is not clear which ones the master's are.
        FailedPrecondition: the workers are not on this machine's loopback, and there is no engine.
    """
    hosts = []
    if cluster is None:
        addresses = [worker.address for worker in (await client.status()).workers]
        if addresses and all(map(is_here, addresses)):
            return Processes(client)
        hosts = [address.rpartition(":")[0] for address in addresses]
    engine = await asyncio.to_thread(Engine)
    try:
        return Containers(engine, await _cluster(engine, cluster, hosts))
    except BaseException:
        engine.close()
        raise


async def _cluster(engine: Engine, name: str | None, hosts: list[str]) -> str:
    """The name of the cluster that is called so, or has these hosts, or is the only one."""
    found = await containers(engine)
    known = {cluster_of(container) for container in found}
    if name is None:
        reached = {
            cluster_of(container)
            for container in found
            if any(has_address(container, host) for host in hosts)
        }
        chosen = reached or known
    else:
        chosen = known & {name}
    if len(chosen) != 1:
        asked = "of this master" if name is None else f"called {name!r}"
        raise NotFound(
            f"There is no one cluster of containers {asked}; there are: "
            f"{', '.join(sorted(known)) or 'none'}. --cluster names one."
        )
    return chosen.pop()
