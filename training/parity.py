"""Trains parity models: networks that turn coded queries into coded answers.

For the codes `parity` (queries added up) and `mosaic` (queries side by side); the code's own
encode makes what they learn from, and its responses say what they should return.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from codes.base import BASE
from codes.checks import check_choice
from codes.linear import LinearDecoding
from training.basis import Basis, permuted_groups, soft_agreement
from training.learnt import Learnt, Lessons, Objectives
from training.measure import measure
from training.recipe import Recipe

LOSSES = ("mse", "decoded")


@dataclass(frozen=True)
class ParityRecipe(Recipe):
    """A recipe with what parity models learn.

    Attributes:
        loss: "mse": the squared error of what a parity returns, each class over its deviation;
            "decoded": that, and the divergence of the answers that are decoded from it.
        warm: begin with the base model's weights.
        shift_pixels, flip: vary the queries; the base model answers the varied ones.
    """

    loss: str = "decoded"
    warm: bool = True
    shift_pixels: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("loss", self.loss, LOSSES)


class Rows(nn.Module):
    """A network whose one long answer is m answers: [b, ...] to [b, m, classes]."""

    def __init__(self, network: nn.Module, rows: int) -> None:
        super().__init__()
        self.network = network
        self.rows = rows

    def forward(self, shard: Tensor) -> Tensor:
        """A parity's shard to its rows."""
        answer: Tensor = self.network(shard)
        return answer.view(answer.shape[0], self.rows, -1)


def parity_models(basis: Basis, code: LinearDecoding, *, warm: bool) -> nn.ModuleDict:
    """A network of the base's architecture for each parity role, drawn from torch's generator."""
    made = nn.ModuleDict()
    for role, width in zip(code.roles, code.widths, strict=True):
        if role == BASE:
            continue
        classes = len(basis.card.classes) * max(1, width)
        network = basis.like(classes=classes, warm=warm)
        made[role] = Rows(network, width) if width else network
    return made


def learn_parities(code: LinearDecoding, lessons: Lessons, recipe: ParityRecipe) -> Learnt:
    """Train a network for each parity role of a code."""
    models = parity_models(lessons.basis, code, warm=recipe.warm)
    objectives = _objectives(lessons.basis, code, models, recipe)
    fitted = lessons.fit(models, objectives, recipe)
    return Learnt(code, dict(models.items()), recipe, fitted)


def _objectives(
    basis: Basis, code: LinearDecoding, models: nn.ModuleDict, recipe: ParityRecipe
) -> Objectives:
    """The loss of some training images, and lost-only accuracy on the validation split."""
    targets = {
        slot: torch.from_numpy(code.responses[code.rows_of([slot])]).float().to(basis.device)
        for slot in range(code.n)
        if code.roles[slot] != BASE
    }

    def loss_of(chosen: Tensor) -> Tensor:
        chosen = permuted_groups(chosen, code.k)
        queries, answers = basis.lesson(chosen, recipe.shift_pixels, recipe.flip)
        shards = code.encode(queries)
        loss = torch.zeros((), device=basis.device)
        for slot, response in targets.items():
            result = models[code.roles[slot]](shards[slot]).float()
            result = result if code.widths[slot] else result[:, None]
            wanted = torch.einsum("mk,gkc->gmc", response, answers)
            spread = response.norm(dim=1)[:, None] * basis.scale  # of a sum of independent answers
            loss = loss + mse_loss(result / spread, wanted / spread)
            if recipe.loss == "decoded":
                loss = loss + _divergence(result - wanted, response, answers)
        return loss / len(targets)

    def score_of() -> float:
        modules = {BASE: basis.module, **dict(models.items())}
        return measure(code, modules, basis.validation, device=basis.device).lost_only.value

    return loss_of, score_of


def _divergence(error: Tensor, response: Tensor, answers: Tensor) -> Tensor:
    """Of every answer, decoded from this parity as if all other queries had answered.

    Args:
        error: [g, m, classes], of the parity's rows.
        response: [m, k], what the rows should be.
        answers: [g, k, classes], true.
    """
    # A sum is wrong by the lost answer's error times its weight; an estimate by that error itself.
    weight = response[0][:, None] if len(response) == 1 else 1.0
    return soft_agreement(answers + error / weight, answers)
