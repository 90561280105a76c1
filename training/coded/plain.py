"""A training without a master as one that has whole weights would do it: to compare with."""

from collections.abc import Callable

import numpy as np

from training.coded.nodes import Array
from training.coded.peer_plan import Plan


def plainly(agreed: Plan, tell: Callable[[int], None] = lambda step: None) -> list[Array]:
    """Weights [out, in + 1] by layer after the same training with whole weights.

    Args:
        agreed: what nodes would do.
        tell: called before every step.
    """
    weights = agreed.network.weights(agreed.recipe.seed)
    velocities = [np.zeros_like(weight) for weight in weights]
    for step in range(1, agreed.recipe.steps + 1):
        tell(step)
        passes = agreed.network.passes(*agreed.batch(step))
        wanted = next(passes)
        while True:
            weight = weights[wanted.layer]
            product = (weight.T if wanted.transpose else weight) @ wanted.values
            try:
                wanted = passes.send(product)
            except StopIteration as end:
                factors = agreed.clipped(end.value)
                break
        for layer, one in enumerate(factors):
            gradient = one.signal @ one.activation.T + agreed.rule.weight_decay * weights[layer]
            velocities[layer] = agreed.rule.momentum * velocities[layer] + gradient
            weights[layer] = weights[layer] - agreed.rule.lr * velocities[layer]
    return weights
