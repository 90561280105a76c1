"""How much a network's answers depend on each weight: diagonals of Fisher information.

Per sample, before squaring: the square of a batch's summed gradient is something else, and a
common mistake. One backward pass a sample and output, so that any module will do.
Source: M. Matena, C. Raffel, "Merging models with Fisher-weighted averaging", 2022 (`TRUE`).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.merging.parents import State

GAUSS, TRUE = "gauss", "true"
KINDS = (GAUSS, TRUE)
Tell = Callable[[float], None]  # the share that is done


def diagonal(
    module: nn.Module, inputs: Tensor, kind: str = GAUSS, tell: Tell | None = None
) -> State:
    """The mean over inputs, by name of the parameter; those that are tied come once.

    Args:
        module: in evaluation mode; gives [m, entries] for [m, ...].
        inputs: [m, ...], m >= 1; no labels.
        kind: "gauss": sum_k (df_k / dtheta)^2, for answers with Gaussian noise; "true":
            sum_y p(y) (dlog p(y) / dtheta)^2, for logits, exact over the classes.
        tell: called after each input.
    """
    names, values = zip(*module.named_parameters(), strict=True)
    sums = [torch.zeros_like(value, dtype=torch.float32) for value in values]
    trained = [value.requires_grad for value in values]
    for value in values:
        value.requires_grad_(True)
    try:
        for place, one in enumerate(torch.split(inputs, 1), start=1):
            outputs = module(one)[0].flatten()
            weights = torch.ones_like(outputs)
            if kind == TRUE:
                outputs = outputs.log_softmax(0)
                weights = outputs.detach().exp()
            for entry, weight in zip(outputs, weights.tolist(), strict=True):
                slopes = torch.autograd.grad(
                    entry, values, retain_graph=True, materialize_grads=True
                )
                torch._foreach_addcmul_(sums, slopes, slopes, weight)
            if tell is not None:
                tell(place / len(inputs))
    finally:
        for value, was in zip(values, trained, strict=True):
            value.requires_grad_(was)
    return {name: total / len(inputs) for name, total in zip(names, sums, strict=True)}
