"""A family of networks: one start, and from it one network a task."""

from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic.dataclasses import dataclass as checked
from torch import nn

from bench.coin.learning import (
    Bar,
    Lesson,
    Plain,
    epoch_s,
    learn_plainly,
    learn_with_schedule,
    provide,
)
from bench.coin.network import narrower, network
from bench.coin.tasks import DIGITS, Task, joined, task
from bench.described import STRICT, digest, plain
from models.data import DataSet
from training.measure import answers_of
from training.recipe import FLOAT32, Recipe
from training.run import Run

LATER = ("tune", "apart", "thirds", "every")  # of a family's settings, no part of its start
SHARE = 0.25  # of every task's labels, that a start is trained on


@checked(frozen=True, config=STRICT)
class Family:
    """How networks of a common start come to be.

    Attributes:
        network, options: what they are.
        tasks: what each of them learns.
        start: settings of the training of the start, on a quarter of all tasks' labels; none: it is
            fresh weights, common to all.
        tune: settings of the trainings from there.
        apart: every network has fresh weights of its own instead.
        every: from the start on, only every so many-th image of a task is learned from.
        thirds: the networks learn one and the same task, each from a part of its images.
    """

    network: str
    tasks: tuple[str, ...]
    tune: dict[str, Any]
    start: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    apart: bool = False
    every: int = 1
    thirds: bool = False


class Members:
    """A family's networks for one seed, trained when they are first asked for.

    Args:
        family: how they come to be.
        seed: of weights and order.
        folder: where they are kept.
        bar: shows progress.
    """

    def __init__(self, family: Family, seed: int, folder: Path, bar: Bar) -> None:
        self.family, self.seed = family, seed
        self._folder, self._bar = folder, bar
        self.tasks = [task(name) for name in family.tasks]
        self._shape = self.tasks[0].learning.input_shape
        about = plain(family)
        self._about = {key: about[key] for key in about if key not in LATER}

    def fresh(self, seed: int | None = None) -> nn.Module:
        """Of the architecture, with weights of a seed; default the family's."""
        seed = self.seed if seed is None else seed
        return network(self.family.network, self._shape, seed, **self.family.options)

    def start(self) -> nn.Module:
        """The network that all begin with."""
        parts = [one.learning for one in self.tasks]
        held = [one.held for one in self.tasks]
        if not self.family.start:
            return self.fresh().eval()
        whole = Task(
            "start",
            joined(parts, SHARE, self.seed),
            joined(held),
            self.tasks[0].test,
        )
        return self._provide("start", self._about, whole, self.family.start, self.fresh(), 0)

    def member(self, position: int) -> nn.Module:
        """The network of a task."""
        what = self._of(position)
        own = 1000 * (position + 1) + self.seed
        fresh = self.fresh(own) if self.family.apart else self.start()
        about = {**self._about, "tune": self.family.tune, "at": position, "of": what.name,
                 "apart": self.family.apart}  # fmt: skip
        if self.family.every > 1:
            about["every"] = self.family.every
        return self._provide(what.name, about, what, self.family.tune, fresh, position + 1)

    def _of(self, position: int) -> Task:
        """What a member learns from the start on."""
        what, family = self.tasks[position], self.family
        if family.thirds:
            part = _every(what.learning, len(self.tasks), position)
            what = replace(what, name=f"{what.name}.{position}", learning=part)
        return replace(what, learning=_every(what.learning, family.every))

    def epoch_s(self, module: nn.Module, position: int) -> float:
        """CPU seconds of an epoch of a member's task, with such a network."""
        tune = self.family.tune
        lesson = _lesson(self._of(position))
        if "optimiser" in tune:  # a plain loop
            return epoch_s(
                module, lesson, Recipe(batch_size=Plain(**tune).batch, precision=FLOAT32)
            )
        return epoch_s(module, lesson, Recipe.of(tune))

    def student(self, position: int, settings: dict[str, Any]) -> nn.Module:
        """A narrower network that learns one member's answers, of 1/models of its cost; from the
        member's own task's images, without their labels.

        Args:
            position: of the member.
            settings: of the training.
        """
        what, teacher = self.tasks[position], self.member(position)
        options = self.family.options
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            fresh = narrower(teacher, self.family.network, 1 / len(self.tasks), **options)

        def lesson() -> Lesson:
            part = self._of(position).learning
            chosen = answers_of(teacher, what.held.images).argmax(1)
            return Lesson(
                part.images,
                answers_of(teacher, part.images).softmax(1),
                replace(what.held, labels=chosen),
            )

        about = {**plain(self.family), "student": settings, "at": position}
        return self._provide("student", about, lesson, settings, fresh, 10 + position)

    def _provide(
        self,
        called: str,
        about: dict[str, Any],
        what: Task | Callable[[], Lesson],
        settings: dict[str, Any],
        fresh: nn.Module,
        place: int,
    ) -> nn.Module:
        seed = 100 * self.seed + place
        name = f"{self.family.network}-{called.replace(':', '-')}-{digest([about, seed])}"

        def learn(module: nn.Module) -> None:
            lesson = what() if callable(what) else _lesson(what)
            if self.family.tasks[0].startswith(DIGITS):
                learn_plainly(module, lesson, Plain(**settings), seed)
                return
            run = Run(self._folder / ".runs" / name, {**about, "seed": seed})
            learn_with_schedule(module, lesson, settings, seed, run, self._bar)

        return provide(self._folder / f"{name}.safetensors", fresh, learn)


def _every(whole: DataSet, step: int, first: int = 0) -> DataSet:
    return whole.take(torch.arange(first, len(whole.images), step)) if step > 1 else whole


def _lesson(what: Task) -> Lesson:
    return Lesson(what.learning.images, what.learning.labels, what.held)
