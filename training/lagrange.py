"""Trains split Lagrange networks: a stem for every query, and one trunk that works on mixes.

A base model is cut in two, and both parts learn on, through the encoder and the decoder, for
numbers of slots and sets of responders drawn by chance: the trunk learns to give results that lie
on a function of the decoder's dimension. For the code `split-lagrange`.

Source: design of this project, after [tang2023] and [agrawal2022].
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, mse_loss

from codes.base import BASE
from codes.checks import check_choice
from codes.split_lagrange import TRUNK, SplitLagrange
from codes.stages import STEM, mixed, stemmed
from codes.verify import subsets
from models.data import DataSet
from models.networks.cutting import cut, has_batch_norm
from training.basis import Basis, permuted_groups
from training.learnt import Learnt, Lessons, Objectives
from training.measure import Module, answers_of, groups_of, results_of
from training.recipe import Recipe

NORMS = ("mixed", "base")
MIXER = "mixer"  # a worker's program where it mixes for itself: stem, mix and trunk in one
SETS_SCORED = 4  # of each size, for each number of slots
NOISES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # tried: the steps are finer than the estimate


@dataclass(frozen=True)
class LagrangeRecipe(Recipe):
    """A recipe with how a split network learns.

    Attributes:
        labels: share of the loss that the true labels have, beside the base model's classes; 0
            where there are none.
        whole: weight of the squared error of the answers from all slots.
        sets: of responders, tried in a step.
        turned: share of the steps whose points stand somewhere else on the circle: a slot that is
            sent again at a fresh angle is then no news to the trunk.
        clip: norm to which a step's gradients are cut.
        norms: of batch normalisation behind the mix: "mixed", statistics of mixed batches; "base",
            as the base model has them, for trunks without any.
        shift_pixels, flip: vary the queries; the base model answers the varied ones.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    clip: float = 1.0
    labels: float = 0.5
    whole: float = 0.05
    sets: int = 6
    turned: float = 0.5
    norms: str = "mixed"
    shift_pixels: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("norms", self.norms, NORMS)
        for name in ("labels", "turned"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Argument {name!r} must be in 0..1, not {getattr(self, name)}.")
        if self.sets < 1:
            raise ValueError(f"Argument 'sets' must be at least 1, not {self.sets}.")


class Centred(nn.Module):
    """A network whose logits have mean 0 over the classes: what soft-max forgets is not mixed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """[b, *features] to [b, classes]."""
        logits: Tensor = self.network(features)
        return logits - logits.mean(-1, keepdim=True)


class Mixer(nn.Module):
    """What a worker runs that is sent the queries of a group and its row of the generator."""

    def __init__(self, stem: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.stem, self.trunk = stem, trunk

    def forward(self, queries: Tensor, coefficients: Tensor) -> Tensor:
        """[g, k, *query] and [g, k] to [g, classes]."""
        result: Tensor = self.trunk(mixed(stemmed(self.stem, queries), coefficients))
        return result


def learn_split(
    code: SplitLagrange, lessons: Lessons, recipe: LagrangeRecipe, after: str, slots: Sequence[int]
) -> Learnt:
    """Train stem and trunk of a base model that is cut after a step.

    Args:
        code: of the largest number of slots.
        after: as `models.networks.cutting.cut` takes it.
        slots: numbers of them to learn for; each step draws one.

    Raises:
        ValueError: no such cut, slots fewer than the code's dimension, or batch normalisation
            behind the mix that would keep the base's statistics.
    """
    basis = lessons.basis
    stem, trunk = cut(copy.deepcopy(basis.module).requires_grad_(True), after)
    if recipe.norms == "base" and has_batch_norm(trunk):
        raise ValueError(
            f"Argument 'norms' must be 'mixed' for the cut {after!r}: behind it there is batch "
            f"normalisation, and its statistics must come from mixed batches."
        )
    if min(slots) < code.recovery_threshold:
        raise ValueError(
            f"Argument 'slots' must be at least R = {code.recovery_threshold}, not {min(slots)}."
        )
    network = nn.ModuleDict({STEM: stem, TRUNK: Centred(trunk)}).to(basis.device)
    variants = [replace(code, n=n, noise=0.0, spares=0, systematic=False) for n in slots]
    fitted = lessons.fit(network, _objectives(basis, variants, network, recipe), recipe)
    modules: dict[str, nn.Module] = {name: network[name] for name in (STEM, TRUNK)}
    by_role: dict[str, Module] = {BASE: basis.module, **modules}
    noise, bias = trunk_noise(variants, by_role, basis.validation, basis.device)
    modules[MIXER] = Mixer(network[STEM], network[TRUNK])
    return Learnt(replace(code, noise=noise, bias=bias), modules, recipe, fitted)


def _objectives(
    basis: Basis, variants: Sequence[SplitLagrange], network: nn.ModuleDict, recipe: LagrangeRecipe
) -> Objectives:
    """The loss of some training images, and accuracy over sets of responders on the validation
    split."""
    k, device = variants[0].k, basis.device

    def loss_of(chosen: Tensor) -> Tensor:
        groups = permuted_groups(chosen, k)
        queries, answers = basis.lesson(groups, recipe.shift_pixels, recipe.flip)
        answers = answers - answers.mean(-1, keepdim=True)
        labels = basis.labels[groups]
        code = _drawn(variants, recipe.turned)
        features = stemmed(network[STEM], queries)
        generator = torch.tensor(code.generator, dtype=torch.float32, device=device)
        mixes = torch.einsum("nk,gkf->ngf", generator, features.flatten(2).float())
        shape = features.shape[2:]
        results = network[TRUNK](mixes.reshape(-1, *shape)).float().unflatten(0, (code.n, -1))
        with torch.autocast(torch.device(device).type, enabled=False):
            decoders = torch.from_numpy(_decoders(code, recipe.sets)).float().to(device)
            decoded = torch.einsum("skn,ngc->sgkc", decoders, results)
        loss = recipe.whole * mse_loss(decoded[0] / basis.scale, answers / basis.scale)
        tried = decoded[1:]
        if recipe.labels < 1:
            wanted = answers.log_softmax(-1).expand_as(tried).flatten(0, -2)
            given = tried.log_softmax(-1).flatten(0, -2)
            soft = kl_div(given, wanted, reduction="batchmean", log_target=True)
            loss = loss + (1 - recipe.labels) * soft
        if recipe.labels > 0:
            truth = labels.expand(tried.shape[:-1]).flatten()
            loss = loss + recipe.labels * cross_entropy(tried.flatten(0, -2), truth)
        return loss

    def score_of() -> float:
        modules: dict[str, Module] = {BASE: basis.module, **dict(network.items())}
        scores = [
            accuracy
            for code in variants
            for accuracy in set_accuracies(code, modules, basis.validation, device)
        ]
        return float(np.mean(scores))

    return loss_of, score_of


def _drawn(variants: Sequence[SplitLagrange], turned: float) -> SplitLagrange:
    """One of the codes, turned by chance now and then; from torch's global generator."""
    code = variants[int(torch.randint(len(variants), ()))]
    if float(torch.rand(())) >= turned:
        return code
    return replace(code, offset=float(torch.rand(())))


def _decoders(code: SplitLagrange, sets: int) -> np.ndarray:
    """Of all slots, then of sets drawn by chance; [1 + sets, k, n], 0 for slots that are lost."""
    decoders = np.zeros((1 + sets, code.k, code.n))
    decoders[0] = code.decoder(range(code.n))
    for row in decoders[1:]:
        size = int(torch.randint(code.recovery_threshold, code.n + 1, ()))
        slots = torch.randperm(code.n)[:size].sort().values.tolist()
        row[:, slots] = code.decoder(slots)
    return decoders


def set_accuracies(
    code: SplitLagrange, modules: dict[str, Module], dataset: DataSet, device: str
) -> list[float]:
    """Accuracy of the decoded answers for some sets of responders of every size from R on."""
    groups = groups_of(len(dataset.images), code.k, seed=0)
    results = results_of(code, modules, dataset.images[groups], device)
    labels = dataset.labels[groups]
    found = []
    for size in range(code.recovery_threshold, code.n + 1):
        for slots in subsets(code.n, size, min(SETS_SCORED, comb(code.n, size))):
            decoded = code.decode([results[slot] for slot in slots], slots)
            found.append(float((decoded.argmax(-1) == labels).float().mean()))
    return found


def trunk_noise(
    variants: Sequence[SplitLagrange], modules: Mapping[str, Module], dataset: DataSet, device: str
) -> tuple[float, float]:
    """The noise for which estimates are best, and the bias with which they tell their error best.

    Over sets of responders of every size of every code, of the answers of a data set that was not
    trained on; errors are mean squares over those of the answers.
    """
    answers = answers_of(modules[BASE], dataset.images, device)
    answers = answers - answers.mean(-1, keepdim=True)
    errors: dict[float, list[float]] = {noise: [] for noise in NOISES}
    told: dict[float, list[float]] = {noise: [] for noise in NOISES}
    for code in variants:
        groups = groups_of(len(dataset.images), code.k, seed=0)
        results, truth = results_of(code, modules, dataset.images[groups], device), answers[groups]
        spread = float(truth.square().mean())
        for noise in NOISES:
            estimating = replace(code, noise=noise)
            for size in range(1, code.n + 1):
                for slots in subsets(code.n, size, min(SETS_SCORED, comb(code.n, size))):
                    decoded = estimating.decode([results[slot] for slot in slots], slots)
                    errors[noise].append(float((decoded - truth).square().mean()) / spread)
                    expected = estimating.expected_error(slots)
                    assert expected is not None  # the noise is known
                    told[noise].append(float(expected.mean()))
    noise = min(NOISES, key=lambda noise: sum(errors[noise]))
    is_error, explained = np.array(errors[noise]), 1 - np.array(told[noise])
    # error = 1 - (1 - bias) explained, by least squares
    bias = 1 - float(explained @ (1 - is_error)) / float(explained @ explained)
    return noise, round(min(max(bias, 0.0), 0.99), 4)
