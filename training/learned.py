"""Trains learned codes: encoder and decoder together, through the frozen base model.

Source: [kosaian2018]. Deviates: one optimiser and schedule for both (`training.loop`); every
pattern of up to r lost slots, parities included. A student learns beside them, as every student
does, and through the decoder that is given its estimates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from codes.backup import STUDENT
from codes.base import BASE
from codes.checks import check_choice
from codes.learned import Learned
from codes.neural import Coder, Weights
from training.basis import Basis, permuted_groups, soft_agreement
from training.images import varied
from training.learnt import Learnt, Lessons, Objectives
from training.measure import measure
from training.recipe import Recipe
from training.student import OnGroups, StudentRecipe, distillation, student_network

LOSSES = ("mse-base", "kl-base", "xent-label")
CODER = "coder"  # among what is trained, beside a student
ATTEMPTS = 3
AT_CHANCE = 1.2  # times a guess
MOST_PATTERNS = 8  # of lost slots in one step; more are drawn from by chance


@dataclass(frozen=True)
class LearnedRecipe(Recipe):
    """A recipe with what a learned code is trained for.

    Attributes:
        loss: of a lost answer: "mse-base", the squared error of its logits; "kl-base", the
            divergence of its class probabilities from the base model's; "xent-label", the cross
            entropy with the true label.
        shift_pixels, flip: vary the encoder's input, while the answers stay the base model's to
            the images as they are.
    """

    loss: str = "kl-base"
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    shift_pixels: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("loss", self.loss, LOSSES)


def patterns(k: int, r: int) -> list[tuple[int, ...]]:
    """Every set of up to r lost slots that loses an own answer."""
    sets = [lost for count in range(1, r + 1) for lost in combinations(range(k + r), count)]
    return [lost for lost in sets if lost[0] < k]


def learn_coder(
    code: Learned, lessons: Lessons, recipe: LearnedRecipe, options: Mapping[str, Any]
) -> Learnt:
    """Train encoder and decoder of a code, and its student if it has one.

    Some draws of the weights never leave chance, as [kosaian2018]'s convolutions with labels at
    k = 5 did now and then: then others are drawn, twice at most.
    """
    chance = 1 / code.classes
    for attempt in range(ATTEMPTS):
        coder = code.fresh_coder(lessons.seed + attempt).to(lessons.basis.device)
        modules = nn.ModuleDict({CODER: coder})
        if code.assisted:
            modules[STUDENT] = OnGroups(student_network(lessons.basis, options), code.k)
        objectives = _objectives(lessons.basis, code, modules, recipe)
        fitted = lessons.again(attempt).fit(modules, objectives, recipe)
        if fitted.score > AT_CHANCE * chance:
            break
    weights = Weights.of(coder)
    students = {role: module for role, module in modules.items() if role == STUDENT}
    return Learnt(replace(code, weights=weights), students, recipe, fitted, weights.tensors)


def _objectives(
    basis: Basis, code: Learned, modules: nn.ModuleDict, recipe: LearnedRecipe
) -> Objectives:
    """The loss of some training images, and lost-only accuracy on the validation split."""
    coder = cast(Coder, modules[CODER])
    losses = patterns(code.k, code.n - code.k)

    def loss_of(chosen: Tensor) -> Tensor:
        chosen = permuted_groups(chosen, code.k)
        queries, answers = basis.lesson(chosen)
        if recipe.shift_pixels or recipe.flip:
            flat = varied(queries.flatten(0, 1), recipe.shift_pixels, recipe.flip)
            queries = flat.view(queries.shape)
        parities = coder.encode(queries)
        coded = basis.module(parities.flatten(0, 1)).unflatten(0, parities.shape[:2])
        results = torch.cat([answers, coded], 1)
        taught = torch.zeros((), device=basis.device)
        if code.assisted:
            estimates = modules[STUDENT](queries).float()
            labels = basis.labels[chosen].flatten()
            taught = distillation(
                estimates.flatten(0, 1), answers.flatten(0, 1), labels, StudentRecipe()
            )
            results = torch.cat([results, estimates], 1)
        tried = losses
        if len(losses) > MOST_PATTERNS:
            drawn = torch.randperm(len(losses))[:MOST_PATTERNS].tolist()
            tried = [losses[i] for i in drawn]
        parts = [_lost(code, coder, results, lost) for lost in tried]
        given = torch.cat([answer for answer, _ in parts], 1).float()
        which = [j for _, own in parts for j in own]
        if recipe.loss == "mse-base":
            return taught + mse_loss(given, answers[:, which])
        if recipe.loss == "kl-base":
            return taught + soft_agreement(given, answers[:, which])
        return taught + cross_entropy(given.flatten(0, 1), basis.labels[chosen][:, which].flatten())

    def score_of() -> float:
        trained = replace(code, weights=Weights.of(coder))
        by_role = {BASE: basis.module, **dict(modules.items())}
        return measure(trained, by_role, basis.validation, device=basis.device).lost_only.value

    return loss_of, score_of


def _lost(
    code: Learned, coder: Coder, results: Tensor, lost: tuple[int, ...]
) -> tuple[Tensor, list[int]]:
    """The decoded answers whose own slot is among the lost, [g, a, classes], and which they are."""
    present = torch.ones(results.shape[1], 1, device=results.device)
    present[code.rows_of(lost)] = 0.0
    own = [slot for slot in lost if slot < code.k]
    return coder.decode(results * present)[:, own], own
