"""What the trainers of codes are given and what they leave, whatever it is that they train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor, nn

from codes.base import Code
from training.basis import Basis
from training.loop import Fitted, Progress, fit
from training.recipe import Recipe
from training.run import Run

Objectives = tuple[Callable[[Tensor], Tensor], Callable[[], float]]  # a loss, and a score


@dataclass(frozen=True)
class Lessons:
    """How a training is begun, told of and kept.

    Attributes:
        basis: the base model.
        seed: of the order of the examples.
        progress: told where the run stands.
        run: where every epoch's end is kept, and gone on from.
    """

    basis: Basis
    seed: int
    progress: Callable[[Progress], None] | None = None
    run: Run | None = None

    def again(self, attempt: int) -> Self:
        """The same with other draws and a run of its own; attempt 0 is this one."""
        if not attempt:
            return self
        run = None if self.run is None else self.run.again(attempt)
        return replace(self, seed=self.seed + attempt, run=run)

    def fit(self, module: nn.Module, objectives: Objectives, recipe: Recipe) -> Fitted:
        """Train a module in place on the base model's data set."""
        loss_of, score_of = objectives
        return fit(
            module,
            loss_of,
            len(self.basis.learning.images),
            score_of,
            recipe,
            seed=self.seed,
            progress=self.progress,
            run=self.run,
        )


@dataclass(frozen=True)
class Learnt:
    """What a trainer leaves.

    Attributes:
        code: with its own weights, if it has any.
        modules: by role, without the base.
        recipe, fitted: how it was done, and how it went.
        weights: of the code's own networks.
    """

    code: Code
    modules: Mapping[str, nn.Module]
    recipe: Recipe
    fitted: Fitted
    weights: Mapping[str, Tensor] = field(default_factory=dict)
