"""Merges models into coded models: one for each row of weights, chosen and measured without labels.

Knows no store and no data sets (`training.merging.stored`); all inputs come from the caller.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.cards import Metric
from training.measure import answers_of
from training.merging.damping import chosen
from training.merging.distilling import Aim, distill
from training.merging.fisher import GAUSS, TRUE, diagonal
from training.merging.parents import NotMergeable, Parents, State
from training.merging.plan import AVERAGE, COIN, DISTILL, FISHER, REGMEAN, Inputs, MergePlan, Rows
from training.merging.regmean import regmean
from training.merging.report import decode_errors, relative_loss, report, targets_of
from training.merging.statistics import load, recalibrate
from training.merging.sums import Sums, average

Tell = Callable[[str, float], None]  # what is done, and the share of it that is


@dataclass(frozen=True, eq=False)
class Coded:
    """Coded models.

    Attributes:
        modules: one a row, float32, in evaluation mode.
        rows: weights, of sum 1.
        damping: of all of them; inf: the plain average; None: the method has none.
        fishers: of each parent, where the method has them.
        outputs: of all n programs on all calibration inputs, [m, n, *answer].
        report, metrics: as of `training.merging.report`.
        seconds: by stage; "report" is no part of the build.
    """

    modules: tuple[nn.Module, ...]
    rows: Rows
    damping: float | None
    fishers: tuple[State, ...]
    outputs: Tensor
    report: dict[str, Any]
    metrics: dict[str, Metric]
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Work:
    """What a merge starts from."""

    parents: Parents
    plan: MergePlan
    rows: Rows
    inputs: Inputs
    build: Tensor  # the parents' outputs, [m, models, *answer]
    held: Tensor
    fishers: tuple[State, ...]
    tell: Tell


def merge(
    parents: Parents, plan: MergePlan, inputs: Inputs, tell: Tell = lambda what, share: None
) -> Coded:
    """Build coded models.

    Args:
        parents: checked.
        plan: how.
        inputs: without labels.
        tell: called with what is done and the share that is.

    Raises:
        NotMergeable: the error of a coded model is over the plan's limit.
        ValueError: weights that the method does not take; or it needs each model's own inputs, and
            they are not told apart.
    """
    rows = plan.rows_for(len(parents.modules))
    if plan.first == FISHER and not inputs.own:
        raise ValueError(
            f"Method {FISHER!r} needs each model's own inputs: as many calibration sets as models, "
            f"in their order, not {len(inputs.names)}."
        )
    seconds: dict[str, float] = {}
    with timed(seconds, "outputs"):
        build, held = (outputs_of(parents.modules, part) for part in (inputs.build, inputs.held))
    with timed(seconds, "fisher"):
        fishers = tuple(_fishers(parents, plan, inputs, tell))
    work = _Work(parents, plan, rows, inputs, build, held, fishers, tell)
    with timed(seconds, "merge"):
        modules, damping = _merged(work)
    for number, (module, row) in enumerate(zip(modules, rows, strict=True)):
        _check_loss(work, number, row, module)
    with timed(seconds, "report"):
        parts = [
            torch.cat([truth, outputs_of(modules, part)], 1)
            for truth, part in ((build, inputs.build), (held, inputs.held))
        ]
        figures, metrics = report(rows, plan.decoding, *parts)
    return Coded(modules, rows, damping, fishers, torch.cat(parts), figures, metrics, seconds)


def outputs_of(modules: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """[m, modules, *answer]."""
    return torch.stack([answers_of(module, inputs) for module in modules], 1)


def written(parents: Parents, parameters: State, row: Sequence[float], inputs: Tensor) -> nn.Module:
    """A model of merged parameters, its statistics taken on these inputs."""
    module = parents.fresh()
    load(module, parameters, parents, row)
    recalibrate(module, inputs)
    return module


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Put down how long this takes."""
    start_s = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start_s, 4)


def _fishers(parents: Parents, plan: MergePlan, inputs: Inputs, tell: Tell) -> Iterator[State]:
    """Of each parent: on mixed inputs, or of the textbook's kind on its own."""
    if plan.first not in (COIN, FISHER):
        return
    textbook = plan.first == FISHER
    for place, (name, module) in enumerate(zip(parents.names, parents.modules, strict=True)):
        seen = inputs.own[place] if textbook else inputs.build
        told = partial(tell, f"Fisher information of {name}")
        yield diagonal(module, seen[: plan.samples], TRUE if textbook else GAUSS, told)


def _merged(work: _Work) -> tuple[tuple[nn.Module, ...], float | None]:
    """The coded models, and their damping."""
    plan, damping = work.plan, None
    if plan.first == COIN:
        modules, damping = _damped(work)
    else:
        modules = _written(work, [_parameters(work, row) for row in work.rows])
    if plan.method == DISTILL:
        build, held = (targets_of(truth, work.rows) for truth in (work.build, work.held))
        for place, module in enumerate(modules):
            aim = Aim(work.inputs.build, build[:, place])
            judge = Aim(work.inputs.held, held[:, place])
            distill(module, aim, judge, plan.steps, plan.seed, work.tell)
    return modules, damping


def _parameters(work: _Work, row: tuple[float, ...]) -> State:
    """Of the coded model of a row, by a method that has no damping."""
    thetas = work.parents.thetas()
    if work.plan.first == AVERAGE:
        return average(thetas, row)
    if work.plan.first == REGMEAN:
        return regmean(work.parents, work.inputs.build, row)
    return Sums(thetas, work.fishers, row).merged()


def _damped(work: _Work) -> tuple[tuple[nn.Module, ...], float]:
    """With the damping that `training.merging.damping` chooses on inputs that were held back."""
    thetas = work.parents.thetas()
    sums = [Sums(thetas, work.fishers, row) for row in work.rows]
    dampings, errors, misses = work.plan.dampings, [], []
    for place, damping in enumerate(dampings, start=1):
        modules = _written(work, [one.merged(damping) for one in sums])
        told = torch.cat([work.held, outputs_of(modules, work.inputs.held)], 1)
        error, miss = decode_errors(work.rows, told)
        errors.append(error)
        misses.append(miss)
        work.tell("damping", place / len(dampings))
    damping = dampings[chosen(dampings, torch.stack(errors), torch.stack(misses))]
    return _written(work, [one.merged(damping) for one in sums]), damping


def _written(work: _Work, parameters: Sequence[State]) -> tuple[nn.Module, ...]:
    return tuple(
        written(work.parents, one, row, work.inputs.build)
        for one, row in zip(parameters, work.rows, strict=True)
    )


def _check_loss(work: _Work, number: int, row: tuple[float, ...], module: nn.Module) -> None:
    target = targets_of(work.held, (row,))[:, 0]
    loss = relative_loss(answers_of(module, work.inputs.held), target)
    if not loss <= work.plan.limit:
        raise NotMergeable(
            f"Coded model {number} is too far from what it stands for: its squared error is "
            f"{loss:.3g} of the variance, and at most {work.plan.limit:g} is wanted. Models that "
            f"went too far apart since their start cannot be merged; method 'distill' may help, "
            f"and a higher limit takes it as it is."
        )
