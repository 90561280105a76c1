"""Approximate coded computation: one network that stands for any function of a matrix, on mixes.

Queries are mixed as they are, and the network that slots run learns through encoder and decoder to
give results that lie on a function of the decoder's dimension R, whatever the function is: so R is
a choice. For the code `split-lagrange`, without a stem. Matrices are drawn anew for every step.

Source: design of this project, after [agrawal2022], whose networks could not be read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from codes.base import BASE
from codes.calibrated import Calibrated, measure_moments
from codes.checks import check_size
from codes.split_lagrange import TRUNK, SplitLagrange
from models import data
from models.cards import Card
from models.functions import MatrixFunction, Target, wishart
from models.networks.mlp import Mlp
from models.programs import content_hash, export_program, load_program
from models.trained import CodeCard, usual_name
from training.base import device_name, versions
from training.codes import TrainedCode
from training.errors import Answered, answered, errors_by_size, time_ratio
from training.lagrange import NOISES
from training.loop import Progress, fit, on_threads, seeded
from training.measure import Module, answers_of
from training.recipe import FLOAT32, Recipe
from training.run import Run

GROUPS_AN_EPOCH = 6400  # fresh ones: there is no end of matrices
SETS_SCORED = 6  # of each size, for each number of slots
THREADS = 1  # such steps take milliseconds; threads would wait for each other


@dataclass(frozen=True)
class AiccRecipe(Recipe):
    """A recipe with how a network learns to stand for a function; batches are of groups.

    Attributes:
        layers, width: of the network, fully connected.
        noise: of the results, as the decoder that it learns through takes it to be: 0 would let
            the few sets of responders with a large gain decide everything.
        sets: of responders, tried in a step; of every size from 1 on.
    """

    epochs: int = 16
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    clip: float = 1.0
    precision: str = FLOAT32
    layers: int = 3
    width: int = 128
    noise: float = 0.3
    sets: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "width", "sets"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Argument {name!r} must be at least 1, not {getattr(self, name)}."
                )
        if not self.noise >= 0:
            raise ValueError(f"Argument 'noise' must be at least 0, not {self.noise}.")


@dataclass(frozen=True)
class AiccPlan:
    """What to train.

    Attributes:
        function, size: as `models.functions.Target` takes them.
        k: queries of a group.
        slots: the numbers of slots to learn for.
        recovery_threshold: R; default k.
        name: in the store; default FUNCTION'S-MODEL.split-lagrange-kK.
        seed: of weights, matrices and sets of responders.
        recipe: fields of `AiccRecipe` that differ from the defaults.

    Raises:
        ValueError: a value out of range; names it.
    """

    function: str
    size: int
    k: int = 4
    slots: Sequence[int] = (5, 6, 8)
    recovery_threshold: int | None = None
    name: str | None = None
    seed: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Target(self.function, self.size)
        check_size("k", self.k, 1)
        if not self.slots:
            raise ValueError("Argument 'n' must name a number of slots.")
        for n in self.slots:
            check_size("n", n, self.k, "k")
        threshold = self.recovery_threshold
        if threshold is not None and not self.k <= threshold <= min(self.slots):
            raise ValueError(
                f"Argument 'recovery_threshold' must be in k..n = {self.k}..{min(self.slots)}, "
                f"not {threshold}."
            )
        AiccRecipe.of(self.recipe)

    @property
    def target(self) -> Target:
        """The function."""
        return Target(self.function, self.size)

    @property
    def code_name(self) -> str:
        """What the trained code is called."""
        return self.name or usual_name(self.target.name, SplitLagrange.name, self.k, None)


def function_model(target: Target) -> tuple[bytes, Card]:
    """The function itself as a model that a cluster can serve: its program and its card."""
    example = torch.zeros(1, 1, target.size, target.size)
    archive = export_program(MatrixFunction(target), example)
    mean, scale = target.units
    card = Card(
        name=target.name,
        hash=content_hash(archive),
        dataset=target.name,
        network="matrix-function",
        input_shape=tuple(example.shape[1:]),
        classes=(),
        title=f"{target.function} of Wishart matrices {target.size}x{target.size}",
        note="Answers are (f(X) - mean) / scale; of the exponential the mean is on the diagonal.",
        options={**asdict(target), "mean": mean, "scale": scale},
        versions=versions(),
    )
    return archive, card


def train_aicc(
    plan: AiccPlan,
    *,
    progress: Callable[[Progress], None] | None = None,
    run: Run | None = None,
    device: str = "cpu",
) -> TrainedCode:
    """Train the network that stands for a function, and measure it once on the test set.

    Args:
        plan: what.
        progress: told where the run stands.
        run: where every epoch's end is kept, and gone on from.
        device: where to train.
    """
    recipe = AiccRecipe.of(plan.recipe)
    target, shape = plan.target, (1, plan.size, plan.size)
    code = SplitLagrange(plan.k, max(plan.slots), plan.recovery_threshold or plan.k)
    function = MatrixFunction(target).to(device)
    modules: dict[str, Module] = {BASE: function}
    with seeded(plan.seed), on_threads(THREADS):
        hidden = (recipe.width,) * recipe.layers
        trunk = Mlp(shape, len(target.mean), hidden, mean=(0.0,), std=(1.0,)).to(device)
        modules[TRUNK] = trunk
        variants = [replace(code, n=n, noise=recipe.noise) for n in plan.slots]
        validation = data.load(target.name, "validation")

        def asked() -> list[Answered]:
            return [answered(variant, modules, validation, device) for variant in variants]

        def score_of() -> float:
            return -_mean_error(variants, asked())

        loss_of = _loss(variants, modules, target, recipe.sets, device)
        fitted = fit(
            trunk,
            loss_of,
            GROUPS_AN_EPOCH,
            score_of,
            recipe,
            seed=plan.seed,
            progress=progress,
            run=run,
        )
        code = replace(code, noise=_least_noise(variants, asked()))
        test = data.load(target.name, "test")
        by_role = {
            role: partial(answers_of, module, device=device) for role, module in modules.items()
        }
        served = Calibrated(code, measure_moments(code, by_role, validation.images))
        found = errors_by_size(served, *answered(served, modules, test, device))
        archive, base = function_model(target)
        program = export_program(trunk, test.images[:1])
        ratio = time_ratio(load_program(program), load_program(archive), test.images)
    card = CodeCard(
        name=plan.code_name,
        code=code.name,
        parameters=asdict(code),
        base=base.name,
        base_hash=base.hash,
        programs={TRUNK: content_hash(program)},
        dataset=base.dataset,
        recipe={
            **asdict(recipe),
            "slots": list(plan.slots),
            "epochs_run": fitted.epochs,
            "best_epoch": fitted.epoch,
        },
        payload=1.0,
        errors={size: round(mean, 5) for size, (mean, _) in found.items()},
        time_cost=round(ratio, 3),
        seed=plan.seed,
        versions=versions(),
        device=device_name(device, THREADS),
        wall_time_s=round(fitted.wall_time_s, 2),
    )
    return TrainedCode(card, {TRUNK: program}, {}, code, modules)


def _loss(
    variants: Sequence[SplitLagrange],
    modules: Mapping[str, Module],
    target: Target,
    sets: int,
    device: str,
) -> Callable[[Tensor], Tensor]:
    """The squared error of the answers to fresh groups, for sets of responders drawn by chance; as
    a share of the answers' variance, which is 1 in standard units."""

    def loss_of(chosen: Tensor) -> Tensor:
        code = variants[int(torch.randint(len(variants), ()))]
        groups = len(chosen)
        rows = wishart(groups * code.k, target.size).to(device)
        answers = modules[BASE](rows).view(groups, code.k, -1)
        shards = code.encode(rows.view(groups, code.k, *rows.shape[1:]))
        results = modules[TRUNK](torch.cat(shards)).view(code.n, groups, -1)
        decoders = torch.from_numpy(_decoders(code, sets)).float().to(device)
        decoded = torch.einsum("skn,ngc->sgkc", decoders, results)
        return mse_loss(decoded, answers.expand_as(decoded))

    return loss_of


def _decoders(code: SplitLagrange, sets: int) -> np.ndarray:
    """Of sets of responders drawn by chance; [sets, k, n], 0 for slots that are lost."""
    decoders = np.zeros((sets, code.k, code.n))
    for row in decoders:
        size = int(torch.randint(1, code.n + 1, ()))
        slots = torch.randperm(code.n)[:size].sort().values.tolist()
        row[:, slots] = code.decoder(slots)
    return decoders


def _least_noise(variants: Sequence[SplitLagrange], asked: Sequence[Answered]) -> float:
    """The noise for which estimates are best."""

    def error(noise: float) -> float:
        return _mean_error([replace(code, noise=noise) for code in variants], asked)

    return min(NOISES, key=error)


def _mean_error(variants: Sequence[SplitLagrange], asked: Sequence[Answered]) -> float:
    """Over sets of responders of every size, for every number of slots."""
    errors: list[float] = []
    for code, (results, truth) in zip(variants, asked, strict=True):
        found = errors_by_size(code, results, truth, most=SETS_SCORED)
        errors += [mean for mean, _ in found.values()]
    return float(np.mean(errors))
