"""The soak on a real cluster: a liar that nobody declared is found, and nothing else is wrong."""

from pathlib import Path

import pytest

import kofn
from bench.soak.cluster import UP_S, LocalSoak
from bench.soak.run import Settings, soak_on
from bench.soak.systems import MOST_SLOTS, SYSTEMS, provide, truth
from models.store import Store

SECONDS = 10.0
WORKERS = MOST_SLOTS + 1  # one may be killed

pytestmark = pytest.mark.timeout(180)


async def test_a_liar_that_the_soak_does_not_know_of_is_found(tmp_path: Path) -> None:
    """Wrong answers of the codes that do not bear liars; of the one that does, none."""
    store = Store(tmp_path / "store")
    provide(store)
    told: list[str] = []
    deployments = [system.deployment for system in SYSTEMS]
    async with (
        LocalSoak(WORKERS, deployments, store.root, tmp_path / "run") as cluster,
        kofn.AsyncClient(cluster.address) as client,
    ):
        await cluster.all_up(UP_S)
        await client.set_faults({"corruption": {"law": "sign-flip"}}, ["worker-0"])
        settings = Settings(SECONDS, 0, WORKERS)
        soaked = await soak_on(cluster, settings, truth(store), told.append)
    wrong = [violation for violation in soaked.violations if violation.kind == "wrong"]
    assert wrong, "nobody noticed the liar"
    assert {violation.kind for violation in soaked.violations} == {"wrong"}
    assert not [violation for violation in wrong if " to liars" in violation.what]
    tallies = soaked.ledger.tallies
    assert sum(tally.answered for tally in tallies.values()) > 50
    assert tallies["liars"].decoded_rows > 0
    assert any(line.endswith(": done") for line in told), "no trouble came to pass"
