"""What is measured at a point: it answers queries, counts, and its workers can be made stragglers.

A `Subject` is a deployment on the master of a running cluster.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

import kofn
from bench.load.driving import Server
from bench.soak.cluster import LaunchedCluster
from bench.sweep import counters
from bench.sweep.counters import Counters
from bench.sweep.disturbing import disturbed, set_faults
from bench.sweep.figures import Sizes
from bench.sweep.plan import System
from bench.sweep.text import ContentionText
from worker.faults_text import FaultsText

SETTLE_S = 5.0  # a task in service may be delayed for so long after nobody wants it any more
PROBE = "sweep-probe"  # a deployment with a slot for every living worker


@dataclass(frozen=True)
class About:
    """What a record says of a system beside its figures; as of `bench.sweep.record.Record`."""

    code: str
    code_name: str
    recovery_threshold: int | None
    policy: str
    sizes: Sizes


def about(system: System) -> About:
    """Of a system of a plan."""
    if system.deployment is None:
        return About("Ray Serve", "ray-serve", None, "", Sizes(1, 1, is_systematic=True))
    config = system.deployment
    code, policy = config.code.make(), config.policy
    wanted = policy.recovery_threshold
    return About(
        code=repr(code) + (", calibrated" if config.code.calibrated else ""),
        code_name=config.code.name,
        recovery_threshold=(
            code.recovery_threshold if wanted is None else 1 if wanted == "any" else wanted
        ),
        policy=str(policy.make()),
        sizes=Sizes(code.k, code.n, all(code.own_slots)),
    )


class Subject(Protocol):
    """One system, ready to be asked.

    Attributes:
        system: of the plan.
        server: who is asked.
    """

    system: System
    server: Server

    def disturbed(
        self, straggler: FaultsText | ContentionText, seed: int
    ) -> AbstractAsyncContextManager[None]:
        """Its living workers inject these; `settle` ends it."""

    def asked(self, straggler: FaultsText | ContentionText, seed: int) -> Server:
        """`server`, with what it must be told for that."""

    async def settle(self) -> None:
        """Have them inject nothing, and wait until all have done what was asked of them."""

    async def counters(self) -> Counters:
        """What was counted until now."""

    async def memory_mib(self) -> tuple[float | None, float | None]:
        """Of its master and of the largest worker, now; None unknown."""


class Deployed:
    """A deployment on the master, which has been deployed.

    Args:
        system: of the plan; it has a deployment.
        cluster: that it runs on.
        client: of its master.
        living: names of the workers that are not dead.
        deadline_s: of a request.
    """

    def __init__(
        self,
        system: System,
        cluster: LaunchedCluster,
        client: kofn.AsyncClient,
        living: Sequence[str],
        deadline_s: float,
    ) -> None:
        assert system.deployment is not None
        self.system = system
        self.server = Server(cluster.at.master, system.deployment.name, deadline_s)
        self._cluster = cluster
        self._client = client
        self._living = list(living)

    def disturbed(
        self, straggler: FaultsText | ContentionText, seed: int
    ) -> AbstractAsyncContextManager[None]:
        """See `Subject`."""
        return disturbed(self._client, straggler, self._living, seed)

    def asked(self, straggler: FaultsText | ContentionText, seed: int) -> Server:
        """See `Subject`: nothing."""
        return self.server

    async def settle(self) -> None:
        """See `Subject`: one task for each, answered, is behind all that came before."""
        await set_faults(self._client, FaultsText(), self._living)
        await ask_all(self._client, len(self._living))

    async def counters(self) -> Counters:
        """See `Subject`."""
        pid = (await self._cluster.process_ids())["master"]
        return await counters.count(self._cluster.metrics_address, self.server.model, pid)

    async def memory_mib(self) -> tuple[float | None, float | None]:
        """See `Subject`."""
        ids = dict(await self._cluster.process_ids())
        master = counters.memory_mib(ids.pop("master"))
        known = [m for pid in ids.values() if (m := counters.memory_mib(pid)) is not None]
        return master, max(known, default=None)


async def ask_all(client: kofn.AsyncClient, living: int) -> None:
    """Send every living worker one task, and wait for them all."""
    metadata = await client.metadata(PROBE)
    shape = [int(size) for size in metadata.inputs[0].shape[1:]]
    rows = np.zeros((living, *shape), np.float32)
    await client.infer(PROBE, rows, timeout_s=SETTLE_S, allow_partial=True)


def probe(program: str, living: int) -> dict[str, Any]:
    """The deployment that `ask_all` asks."""
    return {
        "name": PROBE,
        "program": program,
        "code": {"name": "uncoded", "k": living},
        "policy": {"wait": "all", "max_sends": 1},
        "batching": {"max_groups": 1},
        "timeout_ms": int(1e3 * SETTLE_S),
    }
