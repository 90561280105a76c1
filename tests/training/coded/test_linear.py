"""Coded layers in an ordinary torch loop, beside plain ones."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from training.coded import (
    CodedLinear,
    CodedSGD,
    LocalNodes,
    Rates,
    Report,
    StateLost,
    clip_grad_norm_,
    decoded,
    encoded,
)
from training.coded.run import CodedRecipe, CodedTraining
from training.coded.scheme import Scheme, polydot

NODES = 12
EXAMPLES = torch.rand(96, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = (EXAMPLES.sum(1) > EXAMPLES.sum(1).median()).long()
Clip = Callable[[nn.Module, float], object]


def scheme(rows: int, columns: int, dtype: "np.dtype[np.generic]") -> Scheme:
    return polydot(rows, columns, dtype, NODES, 4)


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = nn.Sequential(nn.Linear(10, 13), nn.Tanh(), nn.Linear(13, 2, bias=False))
    return layers.to(dtype)


def clip_plain(model: nn.Module, norm: float) -> torch.Tensor:
    return torch.nn.utils.clip_grad_norm_(model.parameters(), norm)


def loop(
    model: nn.Module, optimiser: torch.optim.SGD, clip: Clip, batch: int, steps: int = 8
) -> nn.Module:
    """An ordinary training loop."""
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.5)
    dtype = next(model.parameters()).dtype
    for step in range(steps):
        start = step * batch % len(EXAMPLES)
        images, labels = EXAMPLES[start:][:batch].to(dtype), LABELS[start:][:batch]
        optimiser.zero_grad()
        for half in range(2):  # gradients add up over two backward passes
            some = slice(half, None, 2) if batch > 1 else slice(None)
            logits = model(images[some].unsqueeze(1)).squeeze(1)
            nn.functional.cross_entropy(logits, labels[some]).backward()  # type: ignore[no-untyped-call]
        clip(model, 0.5)
        optimiser.step()
        schedule.step()
    return model


def distance(one: nn.Module, other: nn.Module) -> float:
    weights = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in weights)


@pytest.mark.parametrize(
    ("rates", "dtype", "limit", "batch"),
    [
        (Rates(), torch.float64, 1e-13, 16),
        (Rates(), torch.float32, 2e-6, 16),
        (Rates(0.1, 0.02, 0.02), torch.float64, 1e-12, 16),
        (Rates(0.1, 0.02, 0.02), torch.float32, 5e-5, 16),
        (Rates(0.1, 0.02, 0.02), torch.float64, 1e-12, 1),
    ],
)
def test_a_coded_model_learns_what_a_plain_one_does(
    rates: Rates, dtype: torch.dtype, limit: float, batch: int
) -> None:
    choices = {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.01}
    plain = network(dtype)
    report = Report()
    model = encoded(plain, LocalNodes(NODES, rates), scheme, report=report)
    loop(model, CodedSGD(model, **choices), clip_grad_norm_, batch)
    reference = copy.deepcopy(plain)
    optimiser = torch.optim.SGD(reference.parameters(), **choices)
    loop(reference, optimiser, clip_plain, batch)
    assert distance(decoded(model), reference) < limit
    assert (report.located > 0) == (rates != Rates())


def test_no_weight_is_a_parameter() -> None:
    model = encoded(network(), LocalNodes(NODES), scheme)
    assert [name for name, _ in model.named_parameters()] == ["0.bias"]
    assert repr(model[0]).startswith("CodedLinear(in_features=10, out_features=13, bias=True")  # type: ignore[index]


def test_no_gradient_is_kept_without_grad() -> None:
    model = encoded(network(), LocalNodes(NODES), scheme)
    with torch.no_grad():
        model(EXAMPLES)
    first = model[0]  # type: ignore[index]
    assert isinstance(first, CodedLinear)
    assert first.factors() is None


def test_a_lost_state_is_gone_back_from() -> None:
    """More blocks go wrong at once than can be told: the last checkpoint, and on from there."""

    def trained(spoil: bool) -> tuple[nn.Module, Report]:
        nodes, report = LocalNodes(NODES), Report()
        model = encoded(network(), nodes, scheme, report=report)
        spoilt = []

        def tell(step: int, loss: float) -> None:
            if spoil and step == 8 and not spoilt:
                spoilt.append(step)
                for node in range(9):
                    block = nodes.block("0", node)
                    noise = np.random.default_rng(node).standard_normal(block.weight.shape)
                    block.weight = block.weight + noise

        def loss_of(chosen: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(model(EXAMPLES[chosen]), LABELS[chosen])

        recipe = CodedRecipe(steps=12, batch_size=16, lr=0.3, momentum=0.9, checkpoint_every=5)
        CodedTraining(model, loss_of, len(EXAMPLES), recipe, report, tell).run()
        return decoded(model), report

    expected, none = trained(spoil=False)
    found, report = trained(spoil=True)
    assert (none.rollbacks, report.rollbacks) == (0, 1)
    assert distance(found, expected) < 1e-13


def test_a_training_that_cannot_go_on_says_so() -> None:
    nodes = LocalNodes(NODES, Rates(product=1.0))
    model = encoded(network(), LocalNodes(NODES), scheme)
    for layer in (model[0], model[2]):  # type: ignore[index]
        layer.weight.nodes = nodes
    recipe = CodedRecipe(steps=2, batch_size=16, most_rollbacks=0)
    training = CodedTraining(
        model, lambda chosen: model(EXAMPLES[chosen]).sum(), len(EXAMPLES), recipe
    )
    with pytest.raises(StateLost):
        training.run()


@pytest.mark.parametrize("name", ["steps", "batch_size", "checkpoint_every"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' must be at least 1, not 0"):
        CodedRecipe(**{name: 0})
