"""A coded training from its first step to its last: order, checkpoints, going back.

The loop is an ordinary one; what is coded is the model's layers' concern (`linear.py`). Roll-back
is the last resort, for blocks that neither retries nor repairs mend: `StateLost` takes the whole
training back to the last checkpoint, plain parameters and place in the data included.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.coded.linear import CodedSGD, clip_grad_norm_, coded_layers
from training.coded.weight import Report, StateLost

Tell = Callable[[int, float], None]  # steps done, and the loss of the last


@dataclass(frozen=True)
class CodedRecipe:
    """How a model is trained.

    Attributes:
        steps: in all.
        batch_size: examples a step.
        lr, momentum, weight_decay: of SGD.
        clip: largest norm of a gradient, over all parameters; 0 does not clip.
        checkpoint_every: steps.
        most_rollbacks: to one checkpoint, before the training is given up.
        seed: of the order of examples.
    """

    steps: int = 600
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0
    checkpoint_every: int = 100
    most_rollbacks: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Argument {name!r} must be at least 1, not {getattr(self, name)}."
                )


@dataclass
class _Checkpoint:
    step: int
    versions: list[int]
    plain: dict[str, Any]
    optimiser: dict[str, Any]


class CodedTraining:
    """Trains a model in place; coded layers are stepped on their nodes.

    Args:
        model: with coded layers, or without: the same steps, to compare with.
        loss_of: positions among the examples to a scalar loss.
        count: of examples.
        recipe: how.
        report: that the model's coded weights share; told of roll-backs.
        tell: called after every step.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_of: Callable[[Tensor], Tensor],
        count: int,
        recipe: CodedRecipe,
        report: Report | None = None,
        tell: Tell = lambda step, loss: None,
    ) -> None:
        self._model, self._loss_of, self._count = model, loss_of, count
        self._recipe, self._report, self._tell = recipe, report or Report(), tell
        self._weights = [layer.weight for layer in coded_layers(model)]
        self._optimiser = CodedSGD(model, recipe.lr, recipe.momentum, recipe.weight_decay)
        self.step = 0

    def run(self) -> None:
        """All steps.

        Raises:
            StateLost: going back did not help either.
            FloatingPointError: the loss is no longer a number.
        """
        kept = self._kept()
        tries, is_lost = 0, False
        while self.step < self._recipe.steps:
            try:
                if is_lost:
                    self._go_back(kept)
                    is_lost = False
                if self.step % self._recipe.checkpoint_every == 0 and self.step > kept.step:
                    for weight in self._weights:
                        weight.keep()
                    kept, tries = self._kept(), 0
                self._descend()
            except StateLost:
                self._report.rollbacks += 1
                tries += 1
                if tries > self._recipe.most_rollbacks:
                    raise
                is_lost = True

    def _descend(self) -> None:
        self._optimiser.zero_grad()
        loss = self._loss_of(self._batch(self.step))
        torch.autograd.backward(loss)
        if self._recipe.clip:
            clip_grad_norm_(self._model, self._recipe.clip)
        self._optimiser.step()
        self.step += 1
        value = float(loss.detach())
        self._tell(self.step, value)
        if not math.isfinite(value):
            raise FloatingPointError(f"The loss is {value} at step {self.step}.")

    def _batch(self, step: int) -> Tensor:
        """Positions of a step's examples: a function of the seed and the step alone."""
        return batch_of(step, self._recipe.batch_size, self._count, self._recipe.seed)

    def _kept(self) -> _Checkpoint:
        return _Checkpoint(
            self.step,
            [weight.version for weight in self._weights],
            copy.deepcopy(self._model.state_dict()),
            copy.deepcopy(self._optimiser.state_dict()),
        )

    def _go_back(self, kept: _Checkpoint) -> None:
        for weight, version in zip(self._weights, kept.versions, strict=True):
            weight.restore(version)
        self._model.load_state_dict(kept.plain)
        self._optimiser.load_state_dict(copy.deepcopy(kept.optimiser))
        self.step = kept.step


def batch_of(step: int, size: int, count: int, seed: int) -> Tensor:
    """Positions of a step's examples, every epoch in a new order: the same for all who ask."""
    size = min(size, count)
    epoch, place = divmod(step, count // size)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)[place * size :][:size]
