"""The soak on a real cluster: a liar that nobody declared is found, and nothing else is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import kofn
from bench.__main__ import app
from bench.soak.cluster import LEAST_WORKERS, UP_S, RunningCluster
from bench.soak.run import Settings, soak_on, soak_running
from bench.soak.systems import MOST_SLOTS, SYSTEMS, provide, truth
from kofn.chaos import Chaos
from kofn.cli.connection import At
from models.store import Store
from support.certificates import Authority
from support.cluster import Cluster, cluster

SECONDS = 10.0
SHORT_SECONDS = 4.0
WIDE = {"COLUMNS": "200"}
WORKERS = MOST_SLOTS + 2  # two may be in trouble
TOKEN = "correct-horse-battery-staple"
LIES = {"law": "sign-flip", "probability": 0.5}

pytestmark = pytest.mark.timeout(120)


class InThisProcess:
    """Servers of the test's own process: it is no use to watch its memory."""

    def __init__(self, live: Cluster) -> None:
        self.at = At(live.master.address)
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


@pytest.mark.long
async def test_a_cluster_that_runs_already_is_soaked_and_left_as_it_was(tmp_path: Path) -> None:
    """Over TLS, with a token; its workers work properly and only its own is deployed then."""
    store, told = Store(tmp_path / "store"), list[str]()
    own = {"name": "own", "program": "digits-lenet", "code": {"name": "uncoded", "k": 1}}
    clients, token = Authority(tmp_path / "clients"), tmp_path / "token"
    token.write_text(TOKEN)
    server = {"tls": str(clients.certify("master", trusts=clients)), "control": {"port": 0}}
    async with cluster(tmp_path, store, [own], LEAST_WORKERS, server=server, token=TOKEN) as live:
        assert await live.master.state.pool.wait_for_workers(LEAST_WORKERS, UP_S)
        address, control = live.master.address, live.master.control_address
        at = At(address, control, clients.certify("client", trusts=clients), token_file=token)
        settings = Settings(SHORT_SECONDS, 1)
        for stranger in (replace(at, token_file=None), replace(at, tls=None)):
            with pytest.raises((kofn.Unauthenticated, kofn.Unavailable)):
                await soak_running(stranger, settings, store, told.append)
        soaked = await soak_running(at, settings, store, told.append)
        async with at.async_client() as client:
            left = await client.status()
            faults = await client.get_faults()
    assert soaked.violations == []
    assert (soaked.settings.workers, soaked.settings.backend) == (LEAST_WORKERS, "running")
    assert sum(tally.answered for tally in soaked.ledger.tallies.values()) > 20
    assert any(line.endswith(": done") for line in told), "no trouble came to pass"
    assert [item.name for item in left.deployments] == ["own"]
    assert {json.loads(worker.faults_json or "{}").get("delay") for worker in faults.workers} == {
        None
    }


async def test_what_cannot_be_soaked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few workers, a name that is taken, another model of its name; nothing stays deployed."""
    ours, theirs = Store(tmp_path / "ours"), Store(tmp_path / "theirs")
    clothes = ours.card("fashion-mnist-lenet")
    ours.save(
        "digits-lenet", ours.archive(clothes.name), replace(clothes, name="digits-lenet"),
        overwrite=True,
    )  # fmt: skip
    own = {"name": "copies", "program": "digits-lenet", "code": {"name": "uncoded", "k": 1}}
    copies = next(system for system in SYSTEMS if system.name == "copies")
    async with (
        cluster(tmp_path, theirs, [own], 2) as live,
        kofn.AsyncClient(live.master.address) as client,
    ):
        assert await live.master.state.pool.wait_for_workers(2, UP_S)
        for least, name, words in (
            (3, "other", "needs 3 workers that are up; .* has 2"),
            (2, "copies", "serves copies already"),
            (2, "other", "--store must name the master's model store"),
        ):
            monkeypatch.setattr("bench.soak.cluster.LEAST_WORKERS", least)
            refused = RunningCluster(At(live.master.address), [replace(copies, name=name)], ours)
            with pytest.raises(kofn.FailedPrecondition, match=words):
                await refused.__aenter__()
        assert [item.name for item in (await client.status()).deployments] == ["copies"]


def test_what_a_running_cluster_is_not_asked_is_refused() -> None:
    """Chaos and figures of processes that are another's."""
    for flag in (("--backend", "docker"), ("--workers", "9"), ("--plot", "soak.png")):
        done = CliRunner().invoke(app, ["soak", "--master", "127.0.0.1:1", *flag], env=WIDE)
        assert done.exit_code == 2
        assert "neither harmed nor watched" in done.output


def test_how_to_connect_is_refused_where_it_is_of_no_use() -> None:
    """Without a cluster to connect to, or with files that are not there, before any training."""
    for flag, words in (
        (("--tls", "/nowhere"), "goes with --master"),
        (("--tls", "/nowhere", "--master", "127.0.0.1:1"), "must have tls.crt and tls.key"),
        (("--token-file", "/nowhere", "--master", "127.0.0.1:1"), "cannot be read"),
    ):
        done = CliRunner().invoke(app, ["soak", *flag], env=WIDE)
        assert done.exit_code == 2
        assert words in done.output
