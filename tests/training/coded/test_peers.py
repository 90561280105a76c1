"""Nodes that train together without a master, in one process, and everything that may go wrong."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np
import pytest

from support.until import until
from training.coded import CodedRecipe, Rates
from training.coded.network import Network
from training.coded.nodes import Array, Part
from training.coded.peer_node import PeerNode
from training.coded.peer_plan import Plan
from training.coded.peers import Factors, Gone, Key, Standing
from training.coded.plain import plainly
from training.coded.scheme import polydot
from training.coded.weight import StateLost

NODES = 7
IMAGES = np.random.default_rng(0).random((60, 6))
LABELS = (IMAGES.sum(axis=1) > 3).astype(np.int64)


class Direct:
    """Peers in this process; None is dead."""

    def __init__(self) -> None:
        self.nodes: list[PeerNode | None] = [None] * NODES

    def _node(self, peer: int) -> PeerNode:
        node = self.nodes[peer]
        if node is None:
            raise ConnectionError(f"node {peer} is dead")
        return node

    async def result(self, peer: int, key: Key, attempt: int) -> Array:
        return await self._node(peer).result(key, attempt)

    async def standing(self, peer: int) -> Standing:
        return self._node(peer).state.standing()

    async def factors(self, peer: int, step: int) -> list[Factors]:
        return self._node(peer).state.factors(step)

    async def strips(
        self, peer: int, layer: int, part: Part, checkpoint: int
    ) -> AsyncIterator[Array]:
        for rows in self._node(peer).state.strips(layer, part, checkpoint):
            yield rows


def plan(steps: int = 12, momentum: float = 0.9, clip: float = 0.0) -> Plan:
    network = Network((6, 5, 2))
    recipe = CodedRecipe(
        steps, 16, lr=0.3, momentum=momentum, clip=clip, checkpoint_every=4, weight_decay=0.01
    )
    schemes = tuple(polydot(*shape, "float64", NODES, 2) for shape in network.shapes)
    return Plan(network, recipe, schemes, IMAGES, LABELS, scrub_every=2)


async def together(
    agreed: Plan,
    rates: Rates = Rates(),  # noqa: B008 - frozen
    meanwhile: Callable[[Direct, list["asyncio.Task[None]"]], "asyncio.Future[None] | None"]
    | None = None,
) -> Direct:
    peers = Direct()
    peers.nodes = [PeerNode(number, agreed, peers, rates, seed=1) for number in range(NODES)]
    runs = [asyncio.create_task(node.run()) for node in peers.nodes if node is not None]
    if meanwhile is not None:
        await asyncio.ensure_future(meanwhile(peers, runs))  # type: ignore[arg-type]
    await asyncio.gather(*runs, return_exceptions=False)
    return peers


def apart(peers: Direct, agreed: Plan) -> float:
    """How far the weights in the nodes' blocks are from those of a plain training."""
    worst = 0.0
    for layer, expected in enumerate(plainly(agreed)):
        blocks = {
            number: node.state.blocks[layer].weight
            for number, node in enumerate(peers.nodes)
            if node is not None
        }
        found = agreed.schemes[layer].weight([blocks], agreed.recipe.steps)
        worst = max(worst, float(np.linalg.norm(found - expected) / np.linalg.norm(expected)))
    return worst


@pytest.mark.parametrize("clip", [0.0, 0.05])
async def test_nodes_alone_learn_what_a_plain_training_does(clip: float) -> None:
    agreed = plan(clip=clip)
    peers = await together(agreed)
    assert apart(peers, agreed) < 1e-13
    reports = [node.report for node in peers.nodes if node is not None]
    assert sum(report.located + report.retries + report.redone for report in reports) == 0


@pytest.mark.parametrize(
    "rates",
    [
        Rates(product=0.1),
        Rates(encode=0.05),
        Rates(decode=0.04),
        Rates(activation=0.04),
        Rates(update=0.05),
        Rates(product=0.05, encode=0.01, decode=0.01, activation=0.01, update=0.01),
    ],
    ids=["product", "encode", "decode", "activation", "update", "all"],
)
async def test_whatever_fails_at_a_node_leaves_no_trace(rates: Rates) -> None:
    agreed = plan()
    peers = await together(agreed, rates)
    assert apart(peers, agreed) < 1e-12
    nodes = [node for node in peers.nodes if node is not None]
    assert sum(node.faults for node in nodes) > 5
    if rates.decode or rates.activation:
        assert sum(node.report.redone for node in nodes) > 0
    if rates.update:
        assert sum(node.report.restored for node in nodes) > 0


async def test_a_killed_node_is_replaced_from_the_others_copies() -> None:
    agreed = plan(steps=20)

    async def killed(peers: Direct, runs: list["asyncio.Task[None]"]) -> None:
        async def at(step: int, number: int) -> None:
            await until(
                lambda: (node := peers.nodes[number]) is not None and node.state.step >= step, 60
            )

        await at(6, 0)
        runs[3].cancel()
        await asyncio.gather(runs[3], return_exceptions=True)
        peers.nodes[3] = None
        await at(14, 0)
        empty = peers.nodes[3] = PeerNode(3, agreed, peers)
        runs[3] = asyncio.create_task(empty.run())

    peers = await together(agreed, meanwhile=killed)  # type: ignore[arg-type]
    assert apart(peers, agreed) < 1e-13
    back = peers.nodes[3]
    assert back is not None
    assert back.report.rebuilt == 1
    assert back.state.step == 20


async def test_a_node_answers_while_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes on until a node was asked that is computing."""
    gate, begun = threading.Event(), threading.Event()
    passes = Network.passes

    def held(*arguments: object) -> object:
        begun.set()
        assert gate.wait(30), "the event loop was not free"
        return passes(*arguments)  # type: ignore[arg-type]

    async def asked(peers: Direct, runs: list["asyncio.Task[None]"]) -> None:
        await until(begun.is_set, 60)
        assert (await peers.standing(0)).step == 0
        gate.set()

    monkeypatch.setattr(Network, "passes", held)
    agreed = plan(steps=1)
    await together(agreed, meanwhile=asked)  # type: ignore[arg-type]
    monkeypatch.undo()


class Forgetful(Direct):
    """Peers in the midst of training that have forgotten the steps they are asked for, at first."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    async def standing(self, peer: int) -> Standing:
        found = await super().standing(peer)
        return replace(found, checkpoints=tuple(c for c in found.checkpoints if c < found.step))

    async def factors(self, peer: int, step: int) -> list[Factors]:
        self.left -= 1
        if self.left >= 0:
            raise Gone
        return await super().factors(peer, step)


async def late(agreed: Plan, peers: Direct) -> PeerNode:
    """A node that comes when the others have done all steps."""
    peers.nodes = [PeerNode(number, agreed, peers) for number in range(NODES)]
    last = peers.nodes.pop()
    assert last is not None
    peers.nodes.append(None)
    await asyncio.gather(*(node.run() for node in peers.nodes if node is not None))
    peers.nodes[-1] = last
    return last


async def test_steps_that_are_forgotten_meanwhile_are_no_end() -> None:
    agreed = plan(steps=10)
    last = await late(agreed, Forgetful(2 * (NODES - 1)))
    await last.run()
    assert last.is_done
    assert (last.report.rebuilt, last.report.replayed) == (1, 2)


async def test_a_step_is_replayed_as_most_peers_have_it() -> None:
    class Lying(Forgetful):
        async def factors(self, peer: int, step: int) -> list[Factors]:
            found = await super().factors(peer, step)
            return found if peer else [replace(one, signal=one.signal + 1.0) for one in found]

    agreed = plan(steps=10)
    last = await late(agreed, Lying(0))
    await last.run()
    assert last.report.replayed == 2
    for block, scheme, whole in zip(
        last.state.blocks, agreed.schemes, plainly(agreed), strict=True
    ):
        assert np.allclose(block.weight, scheme.weight_share(whole, NODES - 1), rtol=0, atol=1e-12)


async def test_peers_that_always_have_forgotten_are_a_loss() -> None:
    agreed = plan(steps=10)
    last = await late(agreed, Forgetful(10_000))
    with pytest.raises(StateLost, match="Node 6: the others forget"):
        await last.run()


async def test_who_waits_for_a_node_that_came_late_is_told_that_it_has_gone_on() -> None:
    agreed = plan(steps=10)
    last = await late(agreed, Direct())
    waiting = asyncio.create_task(last.result(Key(3, "forward"), 0))
    await last.run()
    async with asyncio.timeout(1):
        with pytest.raises(Gone):
            await waiting


async def test_a_node_that_nobody_checks_gives_up() -> None:
    network = Network((6, 5, 2))
    schemes = tuple(polydot(*shape, "float64", 2, 1) for shape in network.shapes)
    recipe = CodedRecipe(4, 16, checkpoint_every=4)
    peers = Direct()
    node = PeerNode(0, Plan(network, recipe, schemes, IMAGES, LABELS, scrub_every=2), peers)
    with pytest.raises(StateLost):
        await node.run()
