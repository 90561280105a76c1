"""Steps downhill: the average that is kept, and the precision that is chosen."""

import copy

import pytest
import torch
from torch import Tensor, nn

from training.descent import Descent, precision_of
from training.loop import fit, seeded
from training.recipe import BFLOAT16, FLOAT32, Recipe

COUNT = 64


def line() -> nn.Linear:
    with seeded(0):
        return nn.Linear(1, 1)


def test_the_average_is_the_exponential_one_of_the_steps() -> None:
    module = line()
    seen: list[float] = []

    def loss_of(chosen: Tensor) -> Tensor:
        seen.append(float(module.weight.detach()))
        return (module(torch.ones(len(chosen), 1)) - 5).square().mean()

    recipe = Recipe(epochs=10, batch_size=COUNT, averaging=0.4, learning_rate=0.1)
    descent = Descent(module, loss_of, recipe, 1, FLOAT32, lambda step, loss: None)
    for epoch in range(1, 11):
        descent.epoch(epoch, torch.arange(COUNT))
    seen.append(float(module.weight.detach()))
    expected = seen[1]  # after the first step
    for weight in seen[2:]:
        expected += (weight - expected) / 4  # over 4 of 10 steps
    own = float(module.weight.detach())
    with descent.averaged():
        assert float(module.weight.detach()) == pytest.approx(expected, rel=1e-6)
    assert float(module.weight.detach()) == own != pytest.approx(expected, rel=1e-3)


def test_without_averaging_the_last_step_is_kept() -> None:
    module = line()
    recipe = Recipe(epochs=3, averaging=0.0)
    descent = Descent(
        module,
        lambda chosen: module(torch.ones(1, 1)).square().sum(),
        recipe,
        1,
        FLOAT32,
        lambda step, loss: None,
    )
    descent.epoch(1, torch.arange(COUNT))
    own = copy.deepcopy(module.state_dict())
    with descent.averaged():
        assert all(torch.equal(own[name], now) for name, now in module.state_dict().items())


@pytest.mark.parametrize("prepares", [0, 1000])
@pytest.mark.parametrize("slow", [FLOAT32, BFLOAT16])
def test_the_faster_precision_is_taken_and_nothing_is_left_behind(slow: str, prepares: int) -> None:
    """One of both has a hundred times as much to do; the first step prepares something, once."""
    once = iter([prepares])
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    before = copy.deepcopy(module.state_dict())
    heavy = torch.ones(256, 256)

    def loss_of(chosen: Tensor) -> Tensor:
        is_half = torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False):  # there it may take as long
            work = 100 if is_half == (slow == BFLOAT16) else 1
            for _ in range(work + next(once, 0)):
                heavy @ heavy
        noise = torch.rand(len(chosen), 4)
        loss: Tensor = module(noise).float().square().mean()
        return loss

    state = torch.get_rng_state()
    found = precision_of(module, loss_of, Recipe(), COUNT)
    assert found == (FLOAT32 if slow == BFLOAT16 else BFLOAT16)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], now) for name, now in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16])
def test_a_recipe_decides_the_precision(precision: str) -> None:
    module = line()
    asked: list[bool] = []

    def loss_of(chosen: Tensor) -> Tensor:
        asked.append(torch.is_autocast_enabled("cpu"))
        loss: Tensor = module(torch.ones(len(chosen), 1)).float().square().mean()
        return loss

    recipe = Recipe(epochs=1, precision=precision)
    fitted = fit(module, loss_of, COUNT, lambda: 0.0, recipe, seed=0)
    assert fitted.precision == precision
    assert set(asked) == {precision == BFLOAT16}
    assert module.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"averaging": 1.0}, r"'averaging' must be in \[0, 1\), not 1.0"),
        ({"precision": "half"}, "'precision' must be one of auto, float32, bfloat16"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.of(settings)
