"""Nodes without a master over gRPC, in this process: faults, a killed node, and the weights."""

import asyncio
import socket
from contextlib import AsyncExitStack

import numpy as np
import pytest

from nodes.collecting import collected
from nodes.config import NodesConfig
from nodes.server import NodeServer
from nodes.wire import RemotePeers
from support.until import until
from training.coded.nodes import Array
from training.coded.peer_plan import Plan

NODES = 7
pytestmark = pytest.mark.timeout(120)  # on a machine that is busy


def config(**more: object) -> NodesConfig:
    """A small training; ports are free ones."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(NODES)]
    addresses = [f"127.0.0.1:{holder.getsockname()[1]}" for holder in holders]
    for holder in holders:
        holder.close()
    about = {
        "hidden": [6], "dtype": "float64", "blocks": 2, "steps": 12, "batch_size": 16,
        "momentum": 0.9, "lr": 0.05, "checkpoint_every": 4, "scrub_every": 2,
    }  # fmt: skip
    return NodesConfig.model_validate({"addresses": addresses, **about, **more})


def plainly(plan: Plan) -> list[Array]:
    """The same training with whole weights."""
    weights = plan.network.weights(plan.recipe.seed)
    velocities = [np.zeros_like(weight) for weight in weights]
    for step in range(1, plan.recipe.steps + 1):
        passes = plan.network.passes(*plan.batch(step))
        wanted = next(passes)
        while True:
            weight = weights[wanted.layer]
            try:
                wanted = passes.send((weight.T if wanted.transpose else weight) @ wanted.values)
            except StopIteration as end:
                factors = end.value
                break
        for layer, one in enumerate(factors):
            gradient = one.signal @ one.activation.T
            velocities[layer] = plan.rule.momentum * velocities[layer] + gradient
            weights[layer] = weights[layer] - plan.rule.lr * velocities[layer]
    return weights


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


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide checkpoint_every"):
        config(scrub_every=3).plan()
    with pytest.raises(ValueError, match="'nodes' must be"):
        config(blocks=5).plan()
