"""Coded layers: both passes, the update that never decodes, scrub and repair."""

import numpy as np
import pytest

from bench.polydot.trials import dense
from codes.polydot import Layer
from codes.polydot.product import Array, joined

LAYERS = [Layer(4, 1, 9), Layer(1, 1, 3), Layer(2, 2, 10), Layer(3, 2, 9), Layer(2, 2, 8, "mono")]


class Trained:
    """W [13, 11] at the nodes of a layer."""

    def __init__(self, layer: Layer, dtype: type = np.float64) -> None:
        rng = np.random.default_rng(0)
        self.layer = layer
        self.weight = rng.standard_normal((13, 11)).astype(dtype)
        self.x = rng.standard_normal((11, 5)).astype(dtype)
        self.d = rng.standard_normal((13, 5)).astype(dtype)
        blocks = layer.split_weight(self.weight)
        self.shares = [layer.weight_share(blocks, node) for node in range(layer.nodes)]

    def forward(self) -> dict[int, Array]:
        blocks = self.layer.split_x(self.x)
        inputs = [self.layer.forward_input(blocks, node) for node in range(self.layer.nodes)]
        return {node: w @ inputs[node] for node, w in enumerate(self.shares)}

    def backward(self) -> dict[int, Array]:
        blocks = self.layer.split_d(self.d)
        inputs = [self.layer.backward_input(blocks, node) for node in range(self.layer.nodes)]
        return {node: w.T @ inputs[node] for node, w in enumerate(self.shares)}

    def update(self, rate: float) -> None:
        x, d = self.layer.split_x(self.x), self.layer.split_d(self.d)
        for node, share in enumerate(self.shares):
            of_x, of_d = self.layer.update_inputs(x, d, node)
            self.shares[node] = share - rate * of_d @ of_x.T

    def decoded(self, nodes: range) -> Array:
        found = self.layer.state_frame.decode({node: self.shares[node] for node in nodes})
        return joined(found.values, self.layer.blocks_m, self.layer.blocks_n, (13, 11))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_passes_and_update(layer: Layer) -> None:
    trained = Trained(layer)
    for _ in range(2):
        weight = trained.decoded(range(layer.nodes))
        outputs = layer.forward_frame.decode(trained.forward())
        inputs = layer.backward_frame.decode(trained.backward())
        np.testing.assert_allclose(
            layer.joined_out(outputs.values, 13), weight @ trained.x, atol=1e-12
        )
        np.testing.assert_allclose(
            layer.joined_in(inputs.values, 11), weight.T @ trained.d, atol=1e-12
        )
        trained.update(0.1)
        np.testing.assert_allclose(
            trained.decoded(range(layer.nodes)), weight - 0.1 * trained.d @ trained.x.T, atol=1e-12
        )


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_thresholds_of_both_passes_together(layer: Layer) -> None:
    """K_f + K_b = 3 m n - 1."""
    m, n = layer.blocks_m, layer.blocks_n
    assert layer.forward_threshold + layer.backward_threshold == 3 * m * n - 1
    assert layer.forward_frame.threshold == layer.forward_threshold
    assert layer.backward_frame.threshold == layer.backward_threshold


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_the_fewest_nodes_serve_both_passes(layer: Layer) -> None:
    trained = Trained(layer)
    few = range(layer.nodes - layer.node_threshold, layer.nodes)
    forward, backward = trained.forward(), trained.backward()
    outputs = layer.forward_frame.decode({node: forward[node] for node in few})
    inputs = layer.backward_frame.decode({node: backward[node] for node in few})
    np.testing.assert_allclose(
        layer.joined_out(outputs.values, 13), trained.weight @ trained.x, atol=1e-11
    )
    np.testing.assert_allclose(
        layer.joined_in(inputs.values, 11), trained.weight.T @ trained.d, atol=1e-11
    )


def test_a_spoilt_share_is_found_by_sketches_and_rebuilt_from_others() -> None:
    for layer in (Layer(4, 1, 9), Layer(2, 2, 10)):
        trained = Trained(layer)
        right = trained.shares[3]
        rng = np.random.default_rng(1)
        trained.shares[3] = dense(rng)(right)
        omega = rng.standard_normal((right.shape[1], 8))
        sketches = {node: share @ omega for node, share in enumerate(trained.shares)}
        assert layer.state_frame.locate(sketches) == (3,)
        helpers = {node: share for node, share in enumerate(trained.shares) if node != 3}
        blocks = layer.state_frame.decode(helpers).values
        np.testing.assert_allclose(layer.weight_share(blocks, 3), right, atol=1e-13)


def test_inputs_are_codewords_too() -> None:
    layer = Layer(2, 2, 10)
    trained = Trained(layer)
    x, d = layer.split_x(trained.x), layer.split_d(trained.d)
    nodes = range(layer.nodes)
    updates = [layer.update_inputs(x, d, node) for node in nodes]
    for frame, shares in [
        (layer.x_update_frame, [of_x for of_x, _ in updates]),
        (layer.d_update_frame, [of_d for _, of_d in updates]),
    ]:
        shares[7] = dense(np.random.default_rng(0))(shares[7])
        assert frame.locate(dict(enumerate(shares))) == (7,)


def test_updates_need_no_further_upload() -> None:
    """circle: d~ = d^, x~ = x^. conj: x~ = z^(n - 1) conj(x^), d~ = z^(n (m - 1)) conj(d^)."""
    whole = Layer(4, 1, 9)
    np.testing.assert_array_equal(whole.mixings.d, whole.mixings.d_update)
    np.testing.assert_array_equal(whole.mixings.x, whole.mixings.x_update)
    layer = Layer(3, 2, 9)
    trained = Trained(layer)
    x, d = layer.split_x(trained.x), layer.split_d(trained.d)
    points = layer.mixings.x_update[:, 1] / layer.mixings.x_update[:, 0]
    for node in range(layer.nodes):
        of_x, of_d = layer.update_inputs(x, d, node)
        np.testing.assert_allclose(
            layer.forward_input(x, node), points[node] * of_x.conj(), atol=1e-14
        )
        np.testing.assert_allclose(
            layer.backward_input(d, node), points[node] ** 4 * of_d.conj(), atol=1e-14
        )


def test_layers_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'nodes' must be at least .* 7, not 6"):
        Layer(4, 1, 6)
    with pytest.raises(ValueError, match="'blocks_n' must be 1"):
        Layer(2, 2, 12, "circle")
    with pytest.raises(ValueError, match="'family'"):
        Layer(2, 1, 12, "rkrp")
