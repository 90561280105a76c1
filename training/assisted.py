"""Trains a student and a parity that are decoded together, of the code `assisted`.

Both learn at once: the student as every student does (`training.student`), the parity the mean of
the answers. In a helper, which sees the student's estimates, the parity learns what their mean
lacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from codes.assisted import HELPER, PARITY, Assisted
from codes.backup import STUDENT
from codes.base import BASE
from codes.calibrated import Calibrated, measure_moments
from codes.mosaic import mosaic
from training.basis import Basis, permuted_groups
from training.learnt import Learnt, Lessons, Objectives
from training.measure import Module, measure
from training.student import OnGroups, StudentRecipe, distillation, student_network


@dataclass(frozen=True)
class AssistedRecipe(StudentRecipe):
    """A student's recipe, with the parity's share of the loss.

    Attributes:
        parity: weight of the parity's squared error, each class over its deviation.
    """

    parity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parity > 0:
            raise ValueError(f"Argument 'parity' must be above 0, not {self.parity}.")


class Helper(nn.Module):
    """Student and parity in one slot: [b, k, c, h, w] to [b, k + 1, classes].

    Args:
        student: of one query.
        parity: of the mosaic of a group: what the mean of the estimates lacks.
        k: queries in a group.
    """

    def __init__(self, student: nn.Module, parity: nn.Module, k: int) -> None:
        super().__init__()
        self.student = OnGroups(student, k)
        self.parity = parity

    def forward(self, groups: Tensor) -> Tensor:
        """All queries of each group to their estimates, and that of the answers' mean."""
        estimates = self.student(groups)
        lacking = self.parity(mosaic(groups))
        # The student learns each answer for itself, not to make its errors cancel.
        mean = estimates.detach().mean(1) + lacking
        return torch.cat([estimates, mean[:, None]], 1)


def learn_assisted(
    code: Assisted,
    lessons: Lessons,
    recipe: AssistedRecipe,
    student: Mapping[str, Any],
    parity: Mapping[str, Any],
) -> Learnt:
    """Train student and parity, of these `options` of `training.student.student_network`.

    A parity without options is of the base's architecture and begins with its weights.
    """
    basis = lessons.basis
    small = student_network(basis, student)
    network = student_network(basis, parity) if parity else basis.like(warm=True)
    if code.n == code.k + 1:
        modules = nn.ModuleDict({HELPER: Helper(small, network, code.k)})
    else:
        modules = nn.ModuleDict({STUDENT: OnGroups(small, code.k), PARITY: network})
    fitted = lessons.fit(modules, _objectives(basis, code, modules, recipe), recipe)
    return Learnt(code, dict(modules.items()), recipe, fitted)


def _objectives(
    basis: Basis, code: Assisted, modules: nn.ModuleDict, recipe: AssistedRecipe
) -> Objectives:
    def rows_of(queries: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates [g, k, classes] and the mean's [g, classes]."""
        if HELPER in modules:
            rows = modules[HELPER](queries).float()
            return rows[:, :-1], rows[:, -1]
        return modules[STUDENT](queries).float(), modules[PARITY](mosaic(queries)).float()

    def loss_of(chosen: Tensor) -> Tensor:
        chosen = permuted_groups(chosen, code.k)
        queries, answers = basis.lesson(chosen, recipe.shift_pixels, recipe.flip)
        estimates, mean = rows_of(queries)
        spread = basis.scale / code.k**0.5  # of a mean of independent answers
        taught = distillation(
            estimates.flatten(0, 1), answers.flatten(0, 1), basis.labels[chosen].flatten(), recipe
        )
        return taught + recipe.parity * mse_loss(mean / spread, answers.mean(1) / spread)

    def score_of() -> float:
        by_role: dict[str, Module] = {BASE: basis.module, **dict(modules.items())}
        moments = measure_moments(code, by_role, basis.validation.images.to(basis.device))
        calibrated = Calibrated(code, moments)
        worth = measure(calibrated, by_role, basis.validation, device=basis.device)
        return worth.lost_only.value

    return loss_of, score_of
