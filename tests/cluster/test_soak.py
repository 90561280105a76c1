"""The soak on a real cluster: a liar that nobody declared is found, and nothing else is wrong."""

from pathlib import Path

import pytest

import kofn
from bench.soak.cluster import UP_S
from bench.soak.run import Settings, soak_on
from bench.soak.systems import MOST_SLOTS, SYSTEMS, provide, truth
from kofn.chaos import Chaos
from models.store import Store
from support.cluster import Cluster, cluster

SECONDS = 10.0
WORKERS = MOST_SLOTS + 2  # two may be in trouble
LIES = {"law": "sign-flip", "probability": 0.5}

pytestmark = pytest.mark.timeout(120)


class InThisProcess:
    """Servers of the test's own process: it is no use to watch its memory."""

    def __init__(self, live: Cluster) -> None:
        self.address = live.master.address
        self.metrics_address = live.master.metrics_address
        self.workers = [f"worker-{number}" for number in range(WORKERS)]
        self.chaos: Chaos | None = None

    async def process_ids(self) -> dict[str, int]:
        return {}


async def test_a_liar_that_the_soak_does_not_know_of_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong answers of the codes that do not bear liars; of the one that does, none."""
    # `liars` finds it out within a second: put away, it would give nobody else a wrong answer.
    monkeypatch.setattr("master.trust.LIMIT", -1.0)
    store = Store(tmp_path / "store")
    provide(store)
    told: list[str] = []
    deployments = [system.deployment for system in SYSTEMS]
    async with (
        cluster(tmp_path, store, deployments, WORKERS) as live,
        kofn.AsyncClient(live.master.address) as client,
    ):
        assert await live.master.state.pool.wait_for_workers(WORKERS, UP_S)
        await client.set_faults({"corruption": LIES}, ["worker-0"])
        settings = Settings(SECONDS, 0, WORKERS)
        soaked = await soak_on(InThisProcess(live), settings, truth(store), told.append)
    wrong = [violation for violation in soaked.violations if violation.kind == "wrong"]
    assert wrong, "nobody noticed the liar"
    # With the liar of the schedule there are two at a time, too many for `liars`: it says so.
    assert {violation.kind for violation in soaked.violations} <= {"wrong", "failed"}
    assert not [violation for violation in wrong if " to liars" in violation.what]
    tallies = soaked.ledger.tallies
    assert sum(tally.answered for tally in tallies.values()) > 50
    assert tallies["liars"].decoded_rows > 0
    assert any(line.endswith(": done") for line in told), "no trouble came to pass"
