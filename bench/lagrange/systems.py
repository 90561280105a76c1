"""The systems of a row, all with the same workers: what each one is, and its own best setting.

Whatever is chosen, point sets and lambdas, is chosen on the validation split; the calibrated
decoder's moments are of that split, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.lagrange.plan import Row
from bench.lagrange.trained import Trained
from codes.backup import Backup
from codes.base import BASE, Code
from codes.berrut import Berrut
from codes.calibrated import Calibrated, measure_moments
from codes.replication import Replication
from codes.spline import Spline
from codes.split_lagrange import SplitLagrange
from models.data import DataSet
from training.basis import Basis
from training.measure import Answered, Module, answers_of, ask, worth

CALIBRATED = "calibrated"
SYSTEMATIC = "systematic"
PARITY = "parity"


@dataclass(frozen=True)
class System:
    """One of the systems that are compared.

    Attributes:
        name: in the table.
        code: of n slots.
        modules: by role.
        about: what was chosen, and what it costs, for the records.
    """

    name: str
    code: Code
    modules: Mapping[str, Module]
    about: Mapping[str, Any] = field(default_factory=dict)


class Questions:
    """The slots' results on a data set, asked once for all codes that encode alike.

    Args:
        dataset: whose coding groups are asked.
        base: the base model.
        seed: of the groups.
    """

    def __init__(self, dataset: DataSet, base: Basis, seed: int = 0) -> None:
        self.dataset = dataset
        self._base, self._seed = base, seed
        self._truth = answers_of(base.module, dataset.images, base.device)
        self._known: dict[Code, Answered] = {}

    @cached_property
    def images(self) -> Tensor:
        """Of the data set, where the base model is."""
        return self.dataset.images.to(self._base.device)

    def of(self, code: Code, modules: Mapping[str, Module]) -> Answered:
        """What the slots of a code return."""
        alike = code.code if isinstance(code, Calibrated) else code
        if isinstance(alike, Spline):
            alike = replace(alike, lambda_d=0.0)
        if alike not in self._known:
            self._known[alike] = ask(
                alike,
                modules,
                self.dataset,
                seed=self._seed,
                device=self._base.device,
                truth=self._truth,
            )
        return replace(self._known[alike], code=code)


def first_images(dataset: DataSet, count: int) -> DataSet:
    """At most so many images of a data set; 0: all."""
    return dataset.take(torch.arange(min(count, len(dataset.images)))) if count else dataset


def split_code(row: Row, trained: Trained) -> SplitLagrange:
    """The trained code with a row's number of slots."""
    code = trained.split.code
    assert isinstance(code, SplitLagrange)
    return replace(code, n=row.n)


def systems_of(row: Row, trained: Trained, base: Basis) -> Iterator[System]:
    """All systems of a row, the split network first."""
    split, modules = split_code(row, trained), trained.split.modules
    questions = Questions(first_images(base.validation, row.tried.images), base)
    yield System(SplitLagrange.name, split, modules)
    yield System(CALIBRATED, _calibrated(split, modules, questions.images, row), modules)
    if row.n <= 2 * row.k:  # beyond, its slots would stand on each other
        yield System(SYSTEMATIC, replace(split, systematic=True, dimension=None), modules)
    plain = {BASE: base.module}
    yield System(Replication.name, Replication(row.k, row.n), plain)
    for name, helper in trained.helpers.items():
        about = {"cost": helper.card.cost}
        if name == Backup.name:
            yield System(name, Backup(row.k, row.n), helper.modules, about)
        elif row.n == row.k + 1:
            yield System(PARITY, helper.code, helper.modules, {"code": name, **about})
    tried = row.tried
    yield from _best_of(
        Berrut.name,
        [Berrut(row.k, row.n, points) for points in tried.points],
        questions,
        plain,
        row,
    )
    yield from _best_of(
        Spline.name,
        [Spline(row.k, row.n, e, d) for e in tried.lambda_e for d in tried.lambda_d],
        questions,
        plain,
        row,
    )


def _best_of(
    name: str,
    candidates: Sequence[Berrut | Spline],
    questions: Questions,
    modules: Mapping[str, Module],
    row: Row,
) -> Iterator[System]:
    """Of codes of one kind the best on the validation split, and the best that is calibrated."""
    images = questions.images
    # The calibrated decoder replaces the code's own: of those that encode alike one will do.
    apart = {code.generator.tobytes(): code for code in candidates}.values()
    calibrated = [_calibrated(code, modules, images, row) for code in apart]
    for label, tried in ((name, candidates), (f"{name}, {CALIBRATED}", calibrated)):
        best = max(tried, key=lambda code: _score(questions.of(code, modules)))
        chosen = best.code if isinstance(best, Calibrated) else best
        yield System(label, best, modules, {"chosen": str(chosen)})


def _calibrated(
    code: Berrut | Spline | SplitLagrange, modules: Mapping[str, Module], images: Tensor, row: Row
) -> Calibrated:
    groupings = ceil(row.tried.images / len(images))  # a small data set is grouped more often
    return Calibrated(code, measure_moments(code, modules, images, groupings=groupings))


def _score(answered: Answered) -> float:
    """Mean accuracy over all numbers of answers from k / 2 on."""
    code = answered.code
    most = code.n - ceil(code.k / 2)
    return float(np.mean([worth(answered, lost).overall.value for lost in range(1, most + 1)]))
