"""One coded weight under everything that may go wrong with the nodes that hold it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from training.coded import CodedWeight, LocalNodes, Policy, Rates, Rule, StateLost
from training.coded.local import NO_FAULTS
from training.coded.nodes import Array, Inputs
from training.coded.scheme import polydot

ROWS, COLUMNS, BATCH, NODES = 18, 11, 16, 12
RULE = Rule(lr=0.1, momentum=0.9, weight_decay=0.01)
Change = Callable[[CodedWeight, LocalNodes, int], None]


def nothing(weight: CodedWeight, nodes: LocalNodes, step: int) -> None:
    """No change between steps."""


def drawn(shape: tuple[int, int], seed: int, dtype: str = "float64") -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def coded(
    rates: Rates = NO_FAULTS,
    blocks: tuple[int, int] = (4, 1),
    dtype: str = "float64",
    seed: int = 0,
) -> tuple[CodedWeight, LocalNodes]:
    nodes = LocalNodes(NODES, rates, seed)
    weight = CodedWeight("w", polydot(ROWS, COLUMNS, dtype, NODES, *blocks), nodes)
    weight.place(drawn((ROWS, COLUMNS), 1, dtype))
    return weight, nodes


def trained(weight: CodedWeight, nodes: LocalNodes, steps: int, change: Change = nothing) -> float:
    """Steps whose factors depend on the products; the relative distance to plain SGD's weight."""
    dtype = weight.scheme.dtype
    plain = drawn((ROWS, COLUMNS), 1, dtype.name)
    velocity = np.zeros_like(plain)
    for step in range(steps):
        change(weight, nodes, step)
        activation = drawn((COLUMNS, BATCH), 100 + step, dtype.name)
        signal = np.tanh(weight.forward(activation)) / BATCH
        expected = np.tanh(plain @ activation) / BATCH
        back = weight.backward(signal)
        assert np.allclose(back, plain.T @ expected, rtol=1e-3, atol=1e-3)
        weight.update(activation, signal, RULE)
        change_now = expected @ activation.T + RULE.weight_decay * plain
        velocity = RULE.momentum * velocity + change_now
        plain = plain - RULE.lr * velocity
    found = weight.decoded()
    return float(np.linalg.norm(found - plain) / np.linalg.norm(plain))


@pytest.mark.parametrize("blocks", [(4, 1), (2, 2), (1, 3)], ids=str)
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-13), ("float32", 5e-6)])
def test_without_faults_it_is_plain_descent(
    blocks: tuple[int, int], dtype: str, limit: float
) -> None:
    weight, nodes = coded(blocks=blocks, dtype=dtype)
    assert trained(weight, nodes, 25) < limit
    assert weight.report.located == weight.report.retries == weight.report.repaired == 0


@pytest.mark.parametrize("blocks", [(4, 1), (2, 2)], ids=str)
def test_faults_everywhere_leave_no_trace(blocks: tuple[int, int]) -> None:
    weight, nodes = coded(Rates(product=0.15, encode=0.03, update=0.02), blocks)
    assert trained(weight, nodes, 40) < 1e-12
    report = weight.report
    assert nodes.faults > 100
    assert report.located > 50
    assert report.repaired > 0
    assert report.resent > 0


def test_products_that_are_all_wrong_are_refused() -> None:
    weight, nodes = coded()
    nodes.rates = Rates(product=1.0)
    with pytest.raises(StateLost, match="w at step 0"):
        weight.forward(drawn((COLUMNS, BATCH), 0))
    assert weight.report.retries > 0


def test_an_update_that_reaches_nobody_is_a_loss() -> None:
    weight, nodes = coded()
    nodes.silent = set(range(NODES))
    with pytest.raises(StateLost, match="no update reached"):
        weight.update(drawn((COLUMNS, BATCH), 0), drawn((ROWS, BATCH), 1), RULE)
    assert weight.version == 0


def test_an_update_is_handed_out_again_to_those_whom_it_did_not_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight, nodes = coded()
    stage, asked = nodes.stage, []

    def late(name: str, step: int, inputs: dict[int, Inputs], *more: Any) -> Mapping[int, Inputs]:
        asked.append(set(inputs))
        nodes.silent = set(range(3, NODES)) if len(asked) == 1 else set()
        return stage(name, step, inputs, *more)

    monkeypatch.setattr(nodes, "stage", late)
    weight.update(drawn((COLUMNS, BATCH), 0), drawn((ROWS, BATCH), 1), RULE)
    assert asked == [set(range(NODES))] * 2
    assert set(nodes.versions("w").values()) == {1}


def test_a_wrong_block_is_repaired_without_the_whole_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.coded.block.STRIP_BYTES", 2 * COLUMNS * 8)
    weight, nodes = coded()
    widest = 0

    def spoil_two(weight: CodedWeight, nodes: LocalNodes, step: int) -> None:
        if step == 3:  # the blocks of two nodes go wrong for good
            for node in (2, 7):
                block = nodes.block("w", node)
                block.weight = block.weight + 1.0

    strips = nodes.strips

    def watched(name: str, version: int, part: str, some: set[int]):  # type: ignore[no-untyped-def]
        nonlocal widest
        for strip in strips(name, version, part, some):  # type: ignore[arg-type]
            widest = max(widest, *(len(rows) for rows in strip.values()))
            yield strip

    nodes.strips = watched  # type: ignore[method-assign]
    assert trained(weight, nodes, 12, spoil_two) < 1e-13
    assert weight.report.repaired == 2
    assert widest == 2  # rows of a block of five


def test_a_node_that_is_wrong_twice_in_a_row_is_looked_at_before_its_time() -> None:
    weight, nodes = coded()
    block = nodes.block("w", 2)
    block.weight = block.weight + 1.0
    assert trained(weight, nodes, 1) < 1e-13  # forward and backward; a scrub is due at ten
    assert weight.report.repaired == 1


def test_a_node_that_was_away_replays_what_it_missed() -> None:
    def away(weight: CodedWeight, nodes: LocalNodes, step: int) -> None:
        nodes.silent = {5} if 3 <= step < 8 else set()

    weight, nodes = coded()
    assert trained(weight, nodes, 12, away) < 1e-13
    assert weight.report.replayed == 5 + 2  # until the next scrub it goes on missing steps
    assert weight.report.repaired == 0
    assert nodes.versions("w")[5] == 12


def test_a_node_that_was_away_too_long_is_made_anew() -> None:
    def away(weight: CodedWeight, nodes: LocalNodes, step: int) -> None:
        nodes.silent = {5} if 1 <= step < 28 else set()

    weight, nodes = coded()
    assert trained(weight, nodes, 31, away) < 1e-13
    assert weight.report.repaired == 1
    assert weight.report.replayed == 0


def test_a_killed_node_is_replaced() -> None:
    def killed(weight: CodedWeight, nodes: LocalNodes, step: int) -> None:
        if step == 4:
            nodes.kill(0)
        if step == 7:
            nodes.start(0)

    weight, nodes = coded(Rates(product=0.1))
    assert trained(weight, nodes, 25, killed) < 1e-12
    assert nodes.versions("w")[0] == weight.version


def test_more_wrong_blocks_than_can_be_told_is_a_loss() -> None:
    weight, nodes = coded()
    for node in range(NODES - 4):  # 8, of which the code of 4 blocks tells 7
        block = nodes.block("w", node)
        block.weight = block.weight + drawn(block.weight.shape, node)
    with pytest.raises(StateLost, match="scrubbed"):
        weight.scrub()
    weight.restore(0)  # what was placed is a checkpoint
    assert np.allclose(weight.decoded(), drawn((ROWS, COLUMNS), 1), rtol=0, atol=1e-14)


def test_a_checkpoint_outlives_repairs() -> None:
    weight, nodes = coded()
    trained(weight, nodes, 3)
    weight.keep()
    kept = weight.decoded()
    nodes.kill(3)
    nodes.start(3)
    weight.update(drawn((COLUMNS, BATCH), 0), drawn((ROWS, BATCH), 1), RULE)
    weight.scrub()
    weight.restore(3)
    assert np.allclose(weight.decoded(), kept, rtol=0, atol=1e-14)
    assert set(nodes.versions("w").values()) == {3}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((ROWS, COLUMNS + 1)), r"float64 \[18, 11\]"),
        (np.zeros((ROWS, COLUMNS), np.float32), r"not float32"),
        (np.full((ROWS, COLUMNS), np.nan), "not finite"),
    ],
)
def test_what_cannot_be_placed_is_refused(wrong: Array, says: str) -> None:
    scheme = polydot(ROWS, COLUMNS, "float64", NODES, 4)
    with pytest.raises(ValueError, match=says):
        CodedWeight("w", scheme, LocalNodes(NODES)).place(wrong)


def test_code_and_nodes_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="for 12 nodes, and there are 10"):
        CodedWeight("w", polydot(ROWS, COLUMNS, "float64", 12, 4), LocalNodes(10), Policy())


class OneByOne(LocalNodes):
    """Products come one after the other; the first of each is wrong, and the second no number."""

    def multiply(
        self, name: str, version: int, inputs: Mapping[int, Array], *, transpose: bool
    ) -> Iterator[Mapping[int, Array]]:
        for results in super().multiply(name, version, inputs, transpose=transpose):
            for place, (node, values) in enumerate(results.items()):
                yield {node: (-2.0, np.nan, 1.0)[min(place, 2)] * values}


def test_products_that_nothing_checks_are_waited_over() -> None:
    weight = CodedWeight("w", polydot(ROWS, COLUMNS, "float64", NODES, 4), OneByOne(NODES))
    weight.place(drawn((ROWS, COLUMNS), 1))
    plain, activation, signal = (
        drawn(shape, 1) for shape in ((ROWS, COLUMNS), (COLUMNS, BATCH), (ROWS, BATCH))
    )
    assert np.allclose(weight.forward(activation), plain @ activation)
    assert np.allclose(weight.backward(signal), plain.T @ signal)
    assert weight.report.retries == 0


@pytest.mark.parametrize(("blocks", "needed"), [((4, 1), 8), ((1, 3), 4)], ids=str)
def test_a_code_without_a_node_to_check_by_is_refused(blocks: tuple[int, int], needed: int) -> None:
    """Backward needs more, where blocks are of rows, and forward, where they are of columns."""
    m, n = blocks
    with pytest.raises(ValueError, match=f"{m} x {n} blocks need {needed} nodes, one to check"):
        polydot(ROWS, COLUMNS, "float64", needed - 1, m, n)
