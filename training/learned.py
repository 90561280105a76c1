"""Trains learned codes: encoder and decoder together, through the frozen base model.

Source: [kosaian2018]. Deviates: one optimiser and schedule for both (`training.loop`); every
pattern of up to r lost slots, parities included.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from codes.base import BASE, check_choice
from codes.learned import Learned
from codes.neural import Coder, Weights
from training.basis import Basis, permuted_groups, soft_agreement
from training.images import varied
from training.learnt import Learnt, Lessons, Objectives
from training.measure import measure
from training.recipe import Recipe

LOSSES = ("mse-base", "kl-base", "xent-label")
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


def learn_coder(code: Learned, lessons: Lessons, recipe: LearnedRecipe) -> Learnt:
    """Train encoder and decoder of a code."""
    coder = code.fresh_coder(lessons.seed).to(lessons.basis.device)
    objectives = _objectives(lessons.basis, code, coder, recipe)
    fitted = lessons.fit(coder, objectives, recipe)
    weights = Weights.of(coder)
    return Learnt(replace(code, weights=weights), {}, recipe, fitted, weights.tensors)


def _objectives(basis: Basis, code: Learned, coder: Coder, recipe: LearnedRecipe) -> Objectives:
    """The loss of some training images, and lost-only accuracy on the validation split."""
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
        tried = losses
        if len(losses) > MOST_PATTERNS:
            drawn = torch.randperm(len(losses))[:MOST_PATTERNS].tolist()
            tried = [losses[i] for i in drawn]
        parts = [_lost(coder, results, lost, code.k) for lost in tried]
        given = torch.cat([answer for answer, _ in parts], 1).float()
        which = [j for _, own in parts for j in own]
        if recipe.loss == "mse-base":
            return mse_loss(given, answers[:, which])
        if recipe.loss == "kl-base":
            return soft_agreement(given, answers[:, which])
        return cross_entropy(given.flatten(0, 1), basis.labels[chosen][:, which].flatten())

    def score_of() -> float:
        trained = replace(code, weights=Weights.of(coder))
        modules = {BASE: basis.module}
        return measure(trained, modules, basis.validation, device=basis.device).lost_only.value

    return loss_of, score_of


def _lost(coder: Coder, results: Tensor, lost: tuple[int, ...], k: int) -> tuple[Tensor, list[int]]:
    """The decoded answers whose own slot is among the lost, [g, a, classes], and which they are."""
    present = torch.ones(results.shape[1], 1, device=results.device)
    present[list(lost)] = 0.0
    own = [slot for slot in lost if slot < k]
    return coder.decode(results * present)[:, own], own
