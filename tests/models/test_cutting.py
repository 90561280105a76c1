"""Networks in two: stem and trunk together are the network, after every step."""

from typing import Any

import pytest
import torch

from models import networks
from models.networks.cutting import cut, cuts, has_batch_norm

NETWORKS: list[tuple[str, tuple[int, ...], dict[str, Any], tuple[str, ...]]] = [
    ("mlp", (1, 8, 8), {"hidden": [20, 10]}, ("input", "linear1", "linear2")),
    ("lenet", (1, 12, 12), {}, ("input", "conv1", "conv2", "linear1", "linear2")),
    (
        "resnet18",
        (3, 16, 16),
        {"width": 4},
        ("input", "stem", "stage1", "stage2", "stage3", "stage4"),
    ),
]


@pytest.mark.parametrize(("name", "shape", "options", "known"), NETWORKS)
def test_stem_and_trunk_are_the_network(
    name: str, shape: tuple[int, ...], options: dict[str, Any], known: tuple[str, ...]
) -> None:
    network = networks.make(name, shape, 10, **options).eval()
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert cuts(network) == known
    for after in known:
        stem, trunk = cut(network, after)
        with torch.no_grad():
            torch.testing.assert_close(trunk(stem(images)), network(images))


def test_a_cut_that_does_not_exist_is_answered_with_those_that_do() -> None:
    network = networks.make("lenet", (1, 12, 12), 10)
    with pytest.raises(ValueError, match=r"'cut' must be one of input, conv1, .* not 'conv3'"):
        cut(network, "conv3")
    with pytest.raises(ValueError, match="cannot be cut"):
        cuts(torch.nn.Linear(2, 2))


def test_batch_normalisation_is_seen() -> None:
    network = networks.make("resnet18", (3, 16, 16), 10, width=4)
    assert has_batch_norm(cut(network, "stem")[1])
    assert not has_batch_norm(networks.make("lenet", (1, 12, 12), 10))
