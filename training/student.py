"""Trains students: small networks that answer all queries of a group at the cost of one.

Of the code `backup`. A student is distilled from the base model: it learns the base's class
probabilities beside the labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from codes.backup import Backup
from codes.base import BASE
from models import networks
from training.basis import Basis
from training.learnt import Learnt, Lessons, Objectives
from training.measure import right
from training.recipe import Recipe


@dataclass(frozen=True)
class StudentRecipe(Recipe):
    """A recipe with how a student learns.

    Attributes:
        temperature: by which both models' logits are divided before they are compared.
        labels: share of the loss that the true labels have; 0 where there are none.
        shift_pixels, flip: vary the queries; the base model answers the varied ones.
    """

    temperature: float = 3.0
    labels: float = 0.3
    shift_pixels: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0 or not 0 <= self.labels <= 1:
            raise ValueError(
                "Argument 'temperature' must be above 0 and 'labels' in 0..1, "
                f"not {self.temperature} and {self.labels}."
            )


class OnGroups(nn.Module):
    """A network on every query of a group: [b, k, c, h, w] to [b, k, classes]."""

    def __init__(self, network: nn.Module, k: int) -> None:
        super().__init__()
        self.network = network
        self.k = k

    def forward(self, groups: Tensor) -> Tensor:
        """All queries of each group to all answers."""
        answers: Tensor = self.network(groups.flatten(0, 1))
        return answers.view(groups.shape[0], self.k, -1)


def student_network(basis: Basis, options: Mapping[str, Any]) -> nn.Module:
    """A fresh network that takes the base's queries and gives its classes.

    Args:
        basis: the base model, whose normalisation it has.
        options: "network", by default the base's, and what that takes.

    Raises:
        ValueError: an unknown network or option.
    """
    card = basis.card
    constants: dict[str, Any] = {
        key: card.options[key] for key in ("mean", "std") if key in card.options
    }
    chosen: dict[str, Any] = {"network": card.network, **constants, **options}
    network = chosen.pop("network")
    made = networks.make(network, card.input_shape, len(card.classes), **chosen)
    return made.to(basis.device)


def learn_student(
    code: Backup, lessons: Lessons, recipe: StudentRecipe, options: Mapping[str, Any]
) -> Learnt:
    """Distil a student for each role, of these `options` of `student_network`."""
    roles = [role for role in dict.fromkeys(code.roles) if role != BASE]
    students = nn.ModuleDict({role: student_network(lessons.basis, options) for role in roles})
    fitted = lessons.fit(students, _objectives(lessons.basis, students, recipe), recipe)
    modules = {role: OnGroups(student, code.k) for role, student in students.items()}
    return Learnt(code, modules, recipe, fitted)


def distillation(given: Tensor, answers: Tensor, labels: Tensor, recipe: StudentRecipe) -> Tensor:
    """The loss of a student's logits.

    Args:
        given, answers: the student's and the base's, [b, classes].
        labels: int64 [b].

    Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015.
    """
    t = recipe.temperature
    soft = kl_div(
        (given / t).log_softmax(-1),
        (answers / t).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - recipe.labels) * t * t * soft + recipe.labels * cross_entropy(given, labels)


def _objectives(basis: Basis, students: nn.ModuleDict, recipe: StudentRecipe) -> Objectives:
    """The students' mean loss of some training images, and accuracy on the validation split."""

    def loss_of(chosen: Tensor) -> Tensor:
        queries, answers = basis.lesson(chosen, recipe.shift_pixels, recipe.flip)
        labels = basis.labels[chosen]
        losses = [
            distillation(student(queries).float(), answers, labels, recipe)
            for student in students.values()
        ]
        return torch.stack(losses).mean()

    def score_of() -> float:
        hits = [right(student, basis.validation, basis.device) for student in students.values()]
        return sum(hits) / len(hits) / len(basis.validation.images)

    return loss_of, score_of
