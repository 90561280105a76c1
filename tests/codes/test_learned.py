"""The learned code's networks, by hand: shapes, channels, zeros for lost slots, weights."""

import pytest
import torch
from torch import nn

from codes.contract_bits import noise
from codes.learned import Learned
from codes.neural import Coder, ConvEncoder, MlpEncoder, Weights


def test_networks_are_of_the_published_sizes() -> None:
    coder = Coder(2, 1, (1, 28, 28), 10, "mlp")
    linear = [m for m in coder.modules() if isinstance(m, nn.Linear)]
    sizes = [(m.in_features, m.out_features) for m in linear]
    assert sizes == [(1568, 1568), (1568, 784), (30, 30), (30, 20), (20, 20)]
    conv = [m for m in ConvEncoder(5, 1).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in conv] == [100] * 6 + [1]
    assert [m.dilation[0] for m in conv] == [1, 1, 2, 4, 8, 1, 1]


def test_the_receptive_field_is_35_pixels() -> None:
    encoder = Learned(1, 2, "conv", (1, 61, 61), 2).fresh_coder(0).encoder
    image = noise(1, 1, 61, 61).requires_grad_()
    encoder(image)[0, 0, 30, 30].backward()
    assert image.grad is not None
    (touched,) = torch.nonzero(image.grad[0, 0].abs().sum(0), as_tuple=True)
    assert (touched.min().item(), touched.max().item()) == (30 - 17, 30 + 17)


@pytest.mark.parametrize("encoder", ["mlp", "conv"])
def test_a_channel_of_a_parity_comes_from_that_channel_of_all_queries(encoder: str) -> None:
    coder = Learned(2, 3, encoder, (3, 6, 6), 4).fresh_coder(1)
    queries = noise(2, 2, 3, 6, 6)
    before = coder.encode(queries)
    changed = queries.clone()
    changed[:, 1, 2] += 1.0  # the blue plane of the second query
    apart = (coder.encode(changed) - before).abs().amax(dim=(0, 1, 3, 4))
    assert (apart[:2] == 0).all()
    assert apart[2] > 0
    red = coder.encoder(queries[:, :, 0])
    assert torch.allclose(before[:, :, 0], red, atol=1e-6)


def test_lost_slots_are_zeros_to_the_decoder() -> None:
    coder = Learned(2, 3, "mlp", (1, 4, 4), 3).fresh_coder(2)
    code = Learned(2, 3, "mlp", (1, 4, 4), 3, Weights.of(coder))
    own, parity = noise(5, 3, seed=1), noise(5, 3, seed=2)
    decoded = code.decode([own, parity], [0, 2])
    rows = torch.stack([own, torch.zeros(5, 3), parity], 1)
    assert torch.allclose(decoded[:, 1], coder.decode(rows)[:, 1])
    assert torch.equal(decoded[:, 0], own)


def test_serving_encodes_as_training_does() -> None:
    coder = Learned(3, 5, "conv", (1, 5, 5), 4).fresh_coder(3)
    code = Learned(3, 5, "conv", (1, 5, 5), 4, Weights.of(coder))
    queries = noise(2, 3, 1, 5, 5)
    shards = code.encode(queries)
    assert torch.equal(torch.stack(shards[3:], 1), coder.encode(queries))


def test_weights_of_another_shape_are_refused_by_name() -> None:
    weights = Weights.of(Learned(2, 3, "mlp", (1, 4, 4), 3).fresh_coder(0))
    with pytest.raises(ValueError, match=r"'decoder.0.bias' of shape \(12,\) for k = 2, n = 4"):
        Learned(2, 4, "mlp", (1, 4, 4), 3, weights)
    assert Learned(2, 3, "mlp", (1, 4, 4), 3, weights) == Learned(
        2, 3, "mlp", (1, 4, 4), 3, weights
    )


def test_queries_and_results_of_other_shapes_are_refused() -> None:
    code = Learned(2, 3)
    with pytest.raises(ValueError, match=r"images of shape \(1, 8, 8\)"):
        code.encode(torch.zeros(1, 2, 1, 4, 4))
    with pytest.raises(ValueError, match="10 entries"):
        code.decode([torch.zeros(1, 3)] * 2, [0, 2])


def test_a_mlp_encoder_mixes_whole_planes() -> None:
    assert MlpEncoder(2, 3, 12)(noise(4, 2, 3, 4)).shape == (4, 3, 3, 4)
