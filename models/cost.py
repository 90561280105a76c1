"""What a network costs: multiply-adds for one query, counted by torch, not by formulas of ours."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models import networks

WIDTHS = {"lenet": "width", "resnet18": "width", "mlp": "hidden"}  # what makes a network wider


def multiply_adds(module: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-adds of matrix products and convolutions for one input of a shape."""
    was_training = module.training
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module.eval()(torch.zeros(1, *input_shape, device=device))
    module.train(was_training)
    return int(counter.get_total_flops()) // 2


def within(
    budget: float, network: str, input_shape: Sequence[int], classes: int, **options: Any
) -> dict[str, Any]:
    """The widest network of a kind that costs at most so much.

    Args:
        budget: multiply-adds.
        network: lenet, resnet18 or mlp; `options` of it that are fixed.

    Returns:
        The options, with the width that was found.

    Raises:
        ValueError: an unknown network, or even the narrowest costs more; says how much.
    """
    if network not in WIDTHS:
        raise ValueError(f"Argument 'network' must be one of {', '.join(WIDTHS)}, not {network!r}.")
    name = WIDTHS[network]

    def with_width(step: int) -> dict[str, Any]:
        value: Any = {"lenet": step / 32, "resnet18": step, "mlp": (step,)}[network]
        return {**options, name: value}

    def cost(step: int) -> int:
        made = networks.make(network, input_shape, classes, **with_width(step))
        return multiply_adds(made, input_shape)

    if cost(1) > budget:
        raise ValueError(
            f"The narrowest {network} costs {cost(1)} multiply-adds, "
            f"more than the budget of {budget:.0f}."
        )
    low, high = 1, 2
    while cost(high) <= budget:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return with_width(low)
