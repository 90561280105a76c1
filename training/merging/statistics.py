"""Buffers of a merged model: running statistics are taken anew, not any parent's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.merging.parents import Parents, State
from training.merging.sums import average

AT_ONCE = 128


def load(module: nn.Module, parameters: State, parents: Parents, weights: Sequence[float]) -> None:
    """Write merged parameters into a copy of the first parent; its floating-point buffers become
    the average of all parents', its integer ones stay the first's."""
    buffers = [
        {name: value for name, value in parent.named_buffers() if value.is_floating_point()}
        for parent in parents.modules
    ]
    merged = {**parameters, **average(buffers, weights)}
    with torch.no_grad():
        for name, own in (*module.named_parameters(), *module.named_buffers()):
            if name in merged:
                own.copy_(merged[name])


def recalibrate(module: nn.Module, inputs: Tensor) -> None:
    """Take every batch normalisation's statistics over inputs without labels, as a plain mean over
    batches of one size; all else in the module behaves as in evaluation.

    Args:
        module: in evaluation mode, and afterwards too.
        inputs: [m, ...] in random order; m >= 2, and more than a batch are better.
    """
    before = [(norm, norm.momentum, int(norm.num_batches_tracked or 0)) for norm in _norms(module)]
    if not before:
        return
    for norm, _, _ in before:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative
        norm.train()
    size = min(AT_ONCE, len(inputs))
    with torch.no_grad():
        for start in range(0, len(inputs) - size + 1, size):
            module(inputs[start : start + size])
    for norm, momentum, tracked in before:
        norm.eval()
        norm.momentum = momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(tracked)


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [
        part
        for part in module.modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats
    ]
