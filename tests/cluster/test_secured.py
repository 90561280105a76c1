"""A cluster whose every hop is TLS, and whose control service is for operators only."""

import asyncio
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import nn

import kofn
from models.programs import export_program
from models.store import Store
from support.certificates import Authority
from support.cluster import Cluster, cluster
from support.keys import key_pair
from support.until import until

TOKEN = "correct-horse-battery-staple"
PATIENCE_S = 20.0


class Doubled(nn.Module):
    """[b, 3] -> [b, 3]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("programs") / "doubled.pt2"
    path.write_bytes(export_program(Doubled(), torch.zeros(2, 3)))
    return {
        "name": "doubled",
        "program": str(path),
        "code": {"name": "replication", "k": 1, "n": 2},
        "timeout_ms": 10_000,
    }


def refusals(logs: list[Any]) -> list[str]:
    """Why a master's workers were of no use, as its log says."""
    events = ("worker-unreachable", "program-not-taken")
    return [entry["reason"] for entry in logs if entry["event"] in events]


@dataclass
class Secured:
    """What a test may touch."""

    cluster: Cluster
    clients: Authority  # vouches for whom the master and its metrics serve
    folder: Path  # of a client's files

    def client(self, **options: Any) -> kofn.AsyncClient:
        options = {"tls": kofn.Tls.in_folder(self.folder), "token": TOKEN, **options}
        master = self.cluster.master
        return kofn.AsyncClient(master.address, control=master.control_address, **options)


@pytest.fixture
async def secured(deployment: dict[str, Any], tmp_path: Path) -> AsyncIterator[Secured]:
    """Clients and workers have authorities of their own: a client cannot call a worker."""
    clients, workers = (Authority(tmp_path / name) for name in ("clients", "workers"))
    front = clients.certify("master", trusts=clients)
    async with cluster(
        tmp_path,
        Store(tmp_path / "store"),
        [deployment],
        workers=2,
        worker={"tls": str(workers.certify("worker", trusts=workers))},
        workers_tls=str(workers.certify("master", names=("master",), trusts=workers)),
        server={"tls": str(front), "control": {"port": 0}},
        token=TOKEN,
    ) as running:
        yield Secured(running, clients, clients.certify("client", trusts=clients))


async def test_a_query_travels_over_tls(secured: Secured) -> None:
    """Client to master, master to workers, both sides known; both kinds of client."""
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    async with secured.client() as client:
        answers = await client.infer("doubled", rows, timeout_s=PATIENCE_S)
        np.testing.assert_array_equal(answers.outputs, 2 * rows)
    master, tls = secured.cluster.master, kofn.Tls.in_folder(secured.folder)

    def ask_blocking() -> Any:
        with kofn.Client(
            master.address, control=master.control_address, tls=tls, token=TOKEN
        ) as client:
            assert len(client.status().workers) == 2
            return client.infer("doubled", rows, timeout_s=PATIENCE_S).outputs

    np.testing.assert_array_equal(await asyncio.to_thread(ask_blocking), 2 * rows)


async def test_strangers_get_nothing(secured: Secured, tmp_path: Path) -> None:
    """Without a certificate, with a stranger's, and a client at a worker's door."""
    anonymous = secured.clients.vouch(tmp_path / "anonymous")
    stranger = Authority(tmp_path / "strangers").certify("stranger", trusts=secured.clients)
    for tls in (None, kofn.Tls.in_folder(anonymous), kofn.Tls.in_folder(stranger)):
        async with secured.client(tls=tls) as client:
            with pytest.raises(kofn.Unavailable):
                await client.server_metadata(timeout_s=PATIENCE_S)
    worker = secured.cluster.workers[0].address
    async with kofn.AsyncClient(worker, tls=kofn.Tls.in_folder(secured.folder)) as client:
        with pytest.raises(kofn.Unavailable, match="not by the authority given here"):
            await client.server_metadata(timeout_s=PATIENCE_S)


@pytest.mark.parametrize(
    ("token", "why"),
    [(None, "a token is missing"), ("correct-horse-battery-stapler", "the token is wrong")],
)
async def test_control_wants_its_token(secured: Secured, token: str | None, why: str) -> None:
    """Questions, changes and events alike; inference goes without."""
    async with secured.client(token=token) as client:
        assert await client.model_ready("doubled", timeout_s=PATIENCE_S)
        for call in (client.status(), client.set_faults(None), client.undeploy("doubled")):
            with pytest.raises(kofn.Unauthenticated, match=why) as caught:
                await call
            assert "KOFN_CONTROL_TOKEN" in str(caught.value)
        with pytest.raises(kofn.Unauthenticated, match=why):
            await anext(client.events(timeout_s=PATIENCE_S))


async def test_control_is_at_its_own_address_only(secured: Secured) -> None:
    """Neither service is where the other one is."""
    front, control = secured.cluster.master.address, secured.cluster.master.control_address
    tls = kofn.Tls.in_folder(secured.folder)
    async with kofn.AsyncClient(front, tls=tls, token=TOKEN) as client:
        with pytest.raises(kofn.Unimplemented):
            await client.status()
    async with kofn.AsyncClient(control, tls=tls, token=TOKEN) as client:
        assert [worker.state for worker in (await client.status()).workers] == ["up", "up"]
        with pytest.raises(kofn.Unimplemented):
            await client.server_metadata()


async def test_metrics_over_tls(secured: Secured) -> None:
    """For known clients only; a caller that says nothing holds up nobody."""
    address = secured.cluster.master.metrics_address
    host, port = address.split(":")
    _, silent = await asyncio.open_connection(host, int(port))
    trusting = ssl.create_default_context(cafile=str(secured.folder / "ca.crt"))

    def scrape() -> str:
        with urllib.request.urlopen(
            f"https://{address}/metrics", context=trusting, timeout=PATIENCE_S
        ) as reply:
            return str(reply.read().decode())

    try:
        with pytest.raises(OSError) as refused:  # noqa: PT011 - see below
            await asyncio.to_thread(scrape)
        # The alert, or any end of the connection that overtakes it; but the server was trusted,
        # and did not answer.
        assert not isinstance(refused.value, urllib.error.HTTPError)
        assert "verify failed" not in str(refused.value)
        assert "timed out" not in str(refused.value)
        trusting.load_cert_chain(secured.folder / "tls.crt", secured.folder / "tls.key")
        assert 'kofn_worker_up{worker="worker-0"} 1.0' in await asyncio.to_thread(scrape)
    finally:
        silent.close()


async def test_a_master_says_why_it_has_no_worker(
    deployment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each reason, not at every try; it goes on trying."""
    monkeypatch.setattr("master.server.FIRST_WORKER_S", 0.0)
    monkeypatch.setattr("master.link.CONNECT_S", 0.2)
    workers = Authority(tmp_path / "workers")
    with capture_logs() as logs:
        async with cluster(
            tmp_path,
            Store(tmp_path / "store"),
            [deployment],
            workers=1,
            worker={"tls": str(workers.certify("worker", names=("another",)))},
            workers_tls=str(workers.vouch(tmp_path / "trust")),
        ):
            await until(partial(refusals, logs), timeout_s=PATIENCE_S)
    (told,) = refusals(logs)
    assert "another name" in told


async def test_an_open_control_service_is_told(deployment: dict[str, Any], tmp_path: Path) -> None:
    """Not on the loopback, not with a token; and it serves all the same."""
    for host, token, count in (("0.0.0.0", None, 1), ("0.0.0.0", TOKEN, 0), ("127.0.0.1", None, 0)):
        with capture_logs() as logs:
            async with cluster(
                tmp_path, Store(tmp_path / "s"), [], 0, server={"host": host}, token=token
            ):
                pass
        assert [x["event"] for x in logs].count("control-unprotected") == count


async def test_workers_run_what_their_master_signed(
    deployment: dict[str, Any], tmp_path: Path
) -> None:
    """Served by the master with the key, and after its restart from the workers' disks."""
    private, public = key_pair(tmp_path / "keys")
    rows = np.ones((2, 3), np.float32)
    for _ in range(2):
        async with (
            cluster(
                tmp_path,
                Store(tmp_path / "store"),
                [deployment],
                workers=2,
                worker={"trust": public},
                signing_key=private,
            ) as running,
            kofn.AsyncClient(running.master.address) as client,
        ):
            answers = await client.infer("doubled", rows, timeout_s=PATIENCE_S)
            np.testing.assert_array_equal(answers.outputs, 2 * rows)


async def test_a_master_without_the_key_gets_no_workers(
    deployment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log says why."""
    monkeypatch.setattr("master.server.FIRST_WORKER_S", 0.0)
    _, public = key_pair(tmp_path / "keys")
    for key in (None, key_pair(tmp_path / "another")[0]):
        with capture_logs() as logs:
            async with cluster(
                tmp_path,
                Store(tmp_path / "store"),
                [deployment],
                workers=1,
                worker={"trust": public},
                signing_key=key,
            ) as running:
                await until(partial(refusals, logs), timeout_s=PATIENCE_S)
                assert running.master.pool.workers_up == 0
        assert "--signing-key" in refusals(logs)[0]
