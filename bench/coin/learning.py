"""Trains the table's networks: a start, and from it one network a task; each is kept on the disk.

Digits are learned by the plain loops that the settings name; larger images by `training.loop`.
"""

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.data import DataSet
from training.descent import lay_out, precision_of
from training.loop import Progress, fit, on_threads, seeded
from training.measure import right
from training.recipe import BFLOAT16, Recipe
from training.run import Run

STEPS_TIMED = 6
Bar = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]


@dataclass(frozen=True)
class Plain:
    """A loop without schedule.

    Attributes:
        optimiser: sgd (momentum 0.9) or adam.
        rate: the learning rate.
        epochs: passes.
        batch: examples a step.
    """

    optimiser: str
    rate: float
    epochs: int
    batch: int = 32


def provide(path: Path, fresh: nn.Module, learn: Callable[[nn.Module], None]) -> nn.Module:
    """The network in a file, or learned now and kept there.

    Args:
        path: of its weights.
        fresh: of the architecture; it is changed.
        learn: trains it in place.
    """
    if not path.is_file():
        learn(fresh)
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        save_file({key: value.contiguous() for key, value in fresh.state_dict().items()}, whole)
        whole.replace(path)
    fresh.load_state_dict(load_file(path))
    return fresh.eval()


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learned.

    Attributes:
        images: [m, c, h, w].
        targets: classes [m], or their probabilities [m, classes].
        held: images and classes to choose epochs by.
    """

    images: Tensor
    targets: Tensor
    held: DataSet


def learn_plainly(module: nn.Module, lesson: Lesson, how: Plain, seed: int) -> None:
    """Cross entropy down a plain loop."""
    order = torch.Generator().manual_seed(seed)
    if how.optimiser == "sgd":
        steps: Any = torch.optim.SGD(module.parameters(), how.rate, momentum=0.9)
    else:
        steps = torch.optim.Adam(module.parameters(), how.rate)
    with on_threads(1):
        module.train()
        for _ in range(how.epochs):
            drawn = torch.randperm(len(lesson.images), generator=order)
            for chosen in torch.split(drawn, how.batch):
                loss = cross_entropy(module(lesson.images[chosen]), lesson.targets[chosen])
                steps.zero_grad()
                torch.autograd.backward(loss)
                steps.step()
        module.eval()


def learn_with_schedule(
    module: nn.Module, lesson: Lesson, settings: Mapping[str, Any], seed: int, run: Run, bar: Bar
) -> None:
    """Cross entropy by `training.loop`, the epoch chosen on held images."""

    def loss_of(chosen: Tensor) -> Tensor:
        return cross_entropy(module(lesson.images[chosen]).float(), lesson.targets[chosen])

    def score_of() -> float:
        return right(module, lesson.held) / len(lesson.held.images)

    with bar(run.folder.name) as progress, seeded(seed):
        fit(
            module, loss_of, len(lesson.images), score_of, Recipe.of(settings),
            seed=seed, progress=progress, run=run,
        )  # fmt: skip
    run.finish()


def epoch_s(module: nn.Module, lesson: Lesson, recipe: Recipe) -> float:
    """CPU seconds of one epoch on one thread, from a few steps of a copy: on a busy machine more
    time passes, so this is what other work done here is compared with."""
    copied = copy.deepcopy(module).train().requires_grad_(True)
    copied = lay_out(copied, torch.channels_last)
    optimiser = torch.optim.AdamW(copied.parameters())

    def loss_of(chosen: Tensor) -> Tensor:
        return cross_entropy(copied(lesson.images[chosen]).float(), lesson.targets[chosen])

    precision = precision_of(copied, loss_of, recipe, len(lesson.images))
    chosen = torch.arange(min(recipe.batch_size, len(lesson.images)))
    took = []
    for _ in range(STEPS_TIMED):
        start_s = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == BFLOAT16):
            loss = loss_of(chosen)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        took.append(time.process_time() - start_s)
    return median(took[1:]) * len(lesson.images) / len(chosen)
