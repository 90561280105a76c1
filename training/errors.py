"""What a code is worth where answers are no classes: squared errors against the responders.

As `training.measure`, with the very code object that serves and modules in place of workers. Errors
are shares of the answers' variance: 1 is what answering the mean is worth, and that is what an
answer counts that a code refuses.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter

import numpy as np
from torch import Tensor

from codes.base import Code
from codes.verify import subsets
from models.data import DataSet
from training.measure import Module, groups_of, results_of

MOST_SETS = 100  # of each size; all of them up to n = 8
ROWS_TIMED, ROUNDS = 64, 41

Answered = tuple[list[Tensor], Tensor]  # of a code, as `answered` gives them


def answered(
    code: Code, modules: Mapping[str, Module], dataset: DataSet, device: str = "cpu"
) -> Answered:
    """Results of every slot, [g, entries] each, and the right answers [g, k, entries], grouped.

    Args:
        code: whose shards are run.
        modules: by role, in evaluation mode.
        dataset: with targets.
        device: where the modules are.
    """
    assert dataset.targets is not None
    groups = groups_of(len(dataset.images), code.k, seed=0)
    return results_of(code, modules, dataset.images[groups], device), dataset.targets[groups]


def errors_by_size(
    code: Code,
    results: Sequence[Tensor],
    truth: Tensor,
    sizes: Iterable[int] | None = None,
    most: int = MOST_SETS,
) -> dict[int, tuple[float, float]]:
    """By number of responders, the error: mean over sets of responders, and of the worst set.

    Args:
        code: what decodes.
        results, truth: as `answered` gives them.
        sizes: default 1 to n.
        most: sets of a size that are tried, a seeded sample of more.
    """
    variance = float(truth.var((0, 1), correction=0).mean())
    mean = truth.mean((0, 1))
    found = {}
    for size in sizes or range(1, code.n + 1):
        errors = []
        for slots in subsets(code.n, size, most):
            answers = mean.expand_as(truth).clone()
            given = [j for j, gain in enumerate(code.gain(slots)) if gain < np.inf]
            if given:
                answers[:, given] = code.decode([results[slot] for slot in slots], slots, given)
            errors.append(float((answers - truth).square().mean()) / variance)
        found[size] = (float(np.mean(errors)), max(errors))
    return found


def time_ratio(
    one: Callable[[list[Tensor]], object], other: Callable[[list[Tensor]], object], rows: Tensor
) -> float:
    """How many times as long one program takes as another: the median over turns of both."""
    batch = [rows[:ROWS_TIMED]]
    ratios = []
    for _ in range(ROUNDS + 1):  # the first turn warms up
        start = perf_counter()
        one(batch)
        between = perf_counter()
        other(batch)
        ratios.append((between - start) / (perf_counter() - between))
    return median(ratios[1:])
