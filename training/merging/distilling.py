"""Distils a merged model further towards what it stands for, on inputs without labels."""

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.measure import answers_of
from training.merging.report import relative_loss
from training.merging.statistics import recalibrate

BATCH, RATE, LOOKS = 64, 5e-4, 10


class Aim(NamedTuple):
    """What a coded model shall answer.

    Attributes:
        inputs: [m, ...].
        target: [m, *answer].
    """

    inputs: Tensor
    target: Tensor


def distill(
    module: nn.Module,
    aim: Aim,
    held: Aim,
    steps: int,
    seed: int,
    tell: Callable[[str, float], None],
) -> None:
    """Steps of Adam on the squared error, in place.

    Of the start and of what is looked at every few steps, that stays which is nearest to what it
    stands for on inputs that were held back: with few inputs steps may lead away from it.

    Args:
        module: in evaluation mode, and afterwards too; its batch statistics are taken anew.
        aim: what is trained on.
        held: what is chosen by.
        steps: of Adam.
        seed: of the batches.
        tell: called with what is done and the share that is.
    """

    def look() -> tuple[float, dict[str, Tensor]]:
        loss = relative_loss(answers_of(module, held.inputs), held.target)
        return loss, deepcopy(module.state_dict())

    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(module.requires_grad_(True).parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best = look()
    for step in range(1, steps + 1):
        chosen = torch.randint(len(aim.inputs), (min(BATCH, len(aim.inputs)),), generator=order)
        loss = (module(aim.inputs[chosen]) - aim.target[chosen]).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % LOOKS == 0 or step == steps:
            recalibrate(module, aim.inputs)  # weights moved, and so did what a batch norm sees
            best = min(best, look(), key=lambda one: one[0])
        tell("distilling", step / steps)
    module.load_state_dict(best[1])
    module.requires_grad_(False)
