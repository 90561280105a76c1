"""Costs, counted by hand."""

import pytest

from models.cost import multiply_adds, within
from models.networks import make


def test_lenet_by_hand() -> None:
    hand = 6 * 25 * 28 * 28 + 16 * 6 * 25 * 14 * 14 + 784 * 120 + 120 * 84 + 84 * 10
    assert multiply_adds(make("lenet", (1, 28, 28), 10), (1, 28, 28)) == hand


def test_mlp_and_half_resolution_by_hand() -> None:
    mlp = make("mlp", (1, 28, 28), 10, hidden=[100])
    assert multiply_adds(mlp, (1, 28, 28)) == 784 * 100 + 100 * 10
    half = make("mlp", (1, 28, 28), 10, hidden=[100], pool=2)
    assert multiply_adds(half, (1, 28, 28)) == 196 * 100 + 100 * 10


def test_a_module_stays_in_its_mode() -> None:
    module = make("resnet18", (3, 32, 32), 10, width=2, blocks=1)
    multiply_adds(module.train(), (3, 32, 32))
    assert module.training


@pytest.mark.parametrize("network", ["lenet", "mlp", "resnet18"])
def test_the_widest_within_a_budget(network: str) -> None:
    shape, budget = (1, 16, 16), 60_000
    options = {"blocks": 1} if network == "resnet18" else {}
    found = within(budget, network, shape, 10, **options)
    assert multiply_adds(make(network, shape, 10, **found), shape) <= budget
    with pytest.raises(ValueError, match="more than the budget of 10"):
        within(10, network, shape, 10, **options)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(
        ValueError, match="'network' must be one of lenet, resnet18, mlp, not 'vgg'"
    ):
        within(1e6, "vgg", (1, 16, 16), 10)
