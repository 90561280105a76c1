"""Nodes without a master over gRPC, in this process: faults, a killed node, and the weights."""

import asyncio
import re
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from kofn.wire.tls import Tls
from nodes.collecting import collected
from nodes.config import NodesConfig
from nodes.server import NodeServer
from nodes.wire import RemotePeers
from support.certificates import Authority
from support.until import until
from training.coded.plain import plainly

NODES = 7
pytestmark = pytest.mark.timeout(120)  # on a machine that is busy


def config(nodes: int = NODES, **more: object) -> NodesConfig:
    """A small training; ports are free ones."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(nodes)]
    addresses = [f"127.0.0.1:{holder.getsockname()[1]}" for holder in holders]
    for holder in holders:
        holder.close()
    about = {
        "hidden": [6], "dtype": "float64", "blocks": 2, "steps": 12, "batch_size": 16,
        "momentum": 0.9, "lr": 0.05, "checkpoint_every": 4, "scrub_every": 2,
    }  # fmt: skip
    return NodesConfig.model_validate({"addresses": addresses, **about, **more})


@pytest.mark.parametrize("is_killed", [False, True], ids=["faults", "killed"])
async def test_nodes_train_together_and_give_their_weights(is_killed: bool) -> None:
    rates = {"product": 0.05, "encode": 0.01, "decode": 0.01, "activation": 0.01, "update": 0.01}
    settings = config(steps=20) if is_killed else config(faults=rates)
    plan = settings.plan()
    async with AsyncExitStack() as stack:
        servers = [
            NodeServer(number, plan, settings.addresses, settings.rates) for number in range(NODES)
        ]
        for server in servers[:-1]:
            await stack.enter_async_context(server)
        await servers[-1].__aenter__()
        if is_killed:
            await until(lambda: servers[0].node.state.step >= 6, 60)
            await servers[-1].__aexit__()
            await until(lambda: servers[0].node.state.step >= 14, 60)
            servers[-1] = NodeServer(NODES - 1, plan, settings.addresses)
            await servers[-1].__aenter__()
        stack.push_async_exit(servers[-1])
        await asyncio.gather(*(server.training for server in servers))
        peers = RemotePeers(settings.addresses)
        stack.push_async_callback(peers.close)
        weights = await collected(plan, peers, timeout_s=60)
        reports = [server.node.report for server in servers]
    for found, expected in zip(weights, plainly(plan), strict=True):
        assert np.linalg.norm(found - expected) < 1e-12 * np.linalg.norm(expected)
    if is_killed:
        assert reports[-1].rebuilt + reports[-1].replayed > 0
    else:
        assert sum(report.located for report in reports) > 0


async def test_the_command_collects_what_nodes_have_without_those_that_left(
    tmp_path: Path,
) -> None:
    settings = config(steps=4)
    plan = settings.plan()
    (tmp_path / "nodes.json").write_text(settings.model_dump_json())
    async with AsyncExitStack() as stack:
        servers = [NodeServer(number, plan, settings.addresses) for number in range(NODES)]
        for server in servers[:-1]:
            await stack.enter_async_context(server)
        async with servers[-1]:
            await asyncio.gather(*(server.training for server in servers))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "nodes", "collect", "--config", str(tmp_path / "nodes.json"),
            "--out", str(tmp_path / "weights.npz"), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):  # less than a node that does not listen yet is waited for
            output, _ = await process.communicate()
    assert process.returncode == 0
    assert re.fullmatch(r"test accuracy 0\.\d{4} on \d+ images\n", output.decode())
    with np.load(tmp_path / "weights.npz") as kept:
        found = list(kept.values())
    for one, expected in zip(found, plainly(plan), strict=True):
        assert np.linalg.norm(one - expected) < 1e-12 * np.linalg.norm(expected)


async def test_no_more_nodes_than_the_code_needs_give_their_weights_to_those_they_trust(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    settings = config(nodes=4, steps=4, tls=str(authority.certify("node", trusts=authority)))
    assert NodesConfig.model_validate_json(settings.model_dump_json()) == settings
    plan, tls = settings.plan(), settings.tls
    assert plan.needed == plan.count
    async with AsyncExitStack() as stack:
        servers = [NodeServer(number, plan, settings.addresses, tls=tls) for number in range(4)]
        for server in servers:
            await stack.enter_async_context(server)
        await asyncio.gather(*(server.training for server in servers))
        peers = RemotePeers(settings.addresses, tls=tls)
        stack.push_async_callback(peers.close)
        weights = await collected(plan, peers, timeout_s=10)
        for stranger in (None, Tls.in_folder(authority.vouch(tmp_path / "no certificate"))):
            refused = RemotePeers(settings.addresses, start_s=0, tls=stranger)
            stack.push_async_callback(refused.close)
            with pytest.raises(ConnectionError, match="UNAVAILABLE"):
                await refused.standing(0)
    for found, expected in zip(weights, plainly(plan), strict=True):
        assert np.linalg.norm(found - expected) < 1e-12 * np.linalg.norm(expected)


async def test_a_node_that_never_comes_is_waited_for_once() -> None:
    peers = RemotePeers(["127.0.0.1:1"], start_s=0.1)
    try:
        with pytest.raises(ConnectionError, match="DEADLINE_EXCEEDED"):
            await peers.standing(0)
        with pytest.raises(ConnectionError, match="UNAVAILABLE"):
            await peers.standing(0)
    finally:
        await peers.close()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide checkpoint_every"):
        config(scrub_every=3).plan()
    with pytest.raises(ValueError, match="'nodes' must be"):
        config(blocks=5).plan()
