"""Trains base models: the network whose answers the cluster serves, on a labelled data set.

Images are normalised inside the network, by constants taken from the training images. Epochs are
selected on a validation split of the training data; the test set is looked at once, afterwards.
Does not draw progress and does not choose recipes for learned codes.
"""

import hashlib
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models import data, networks
from models.cards import Card, proportion
from models.data import DataSet
from models.programs import content_hash, export_program
from models.store import Store
from training.images import constants, varied
from training.loop import Progress, fit, on_threads, seeded
from training.measure import right
from training.recipe import Recipe
from training.run import Run

EXAMPLES = 500_000  # how many a run looks at by default: 9 epochs of MNIST
FEWEST_EPOCHS, MOST_EPOCHS = 8, 60
# Steps on images of at most so many numbers take a fraction of a millisecond; on a busy machine the
# threads of such a step wait for each other: 30 s instead of 1 for digits.
ONE_THREAD_NUMBERS = 256


@dataclass(frozen=True)
class BaseRecipe(Recipe):
    """A recipe with what is done to training images.

    Attributes:
        shift_pixels: move each image by up to this many pixels either way.
        flip: mirror half of the images; not for digits.
    """

    shift_pixels: int = 0
    flip: bool = False


@dataclass(frozen=True)
class Trained:
    """A trained base model: the module, its program and its card."""

    module: nn.Module
    archive: bytes
    card: Card


@dataclass(frozen=True)
class Plan:
    """What to train.

    Attributes:
        dataset: a name or path that `models.data.load` takes; it must have labels.
        network: a name in `models.networks.REGISTRY`.
        name: of the model; default dataset-network.
        options: of the network, such as {"width": 16}.
        seed: of weights, order and noise.
        epochs: at most; by default as many as make half a million examples.
        recipe: fields of `BaseRecipe` that differ from the defaults.
        start: the stored model whose weights training begins with; "" for fresh ones. Network and
            options must be that model's; options that are not named are.
    """

    dataset: str
    network: str
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    epochs: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""


def train_base(
    dataset: str,
    network: str,
    *,
    progress: Callable[[Progress], None] | None = None,
    device: str = "cpu",
    run: Run | None = None,
    **choices: Any,
) -> tuple[nn.Module, Card]:
    """Train a network on a data set.

    Args:
        dataset, network, choices: of a `Plan`: epochs, seed, name, options, recipe.
        progress, device, run: as of `train`.

    Returns:
        The module, in evaluation mode on the CPU, and its card.

    Raises:
        The errors of `train`.
    """
    plan = Plan(dataset, network, **choices)
    trained = train(plan, progress=progress, device=device, run=run)
    return trained.module, trained.card


def train_and_store(
    dataset: str,
    network: str,
    *,
    store: Store | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    device: str = "cpu",
    run: Run | None = None,
    **choices: Any,
) -> Card:
    """Train a network and keep its program, weights and card.

    Args:
        dataset, network, choices: of a `Plan`: epochs, seed, name, options, recipe, start.
        store: default the user's own.
        overwrite: let the name stand for the new model.
        progress, device, run: as of `train`.

    Raises:
        NameTaken: the name has another program.
        The errors of `train`.
    """
    plan, store = Plan(dataset, network, **choices), store or Store()
    trained = train(plan, store=store, progress=progress, device=device, run=run)
    store.save(
        trained.card.name,
        trained.archive,
        trained.card,
        weights=trained.module.state_dict(),
        overwrite=overwrite,
    )
    return trained.card


def train(
    plan: Plan,
    *,
    store: Store | None = None,
    progress: Callable[[Progress], None] | None = None,
    device: str = "cpu",
    run: Run | None = None,
) -> Trained:
    """Train a network, export it and measure it once on the test set.

    Args:
        plan: what to train.
        store: where its start is; default the user's own.
        progress: told where the run stands.
        device: where to train.
        run: where every epoch's end is kept, and gone on from.

    Raises:
        DataError, DataUnavailable: as of `models.data.load`, or there are no labels.
        UnknownModel: the start is not in the store, or was saved without its weights.
        ValueError: an unknown network, a setting out of range, or a start of another kind.
    """
    whole = data.load(plan.dataset, "train")
    if not whole.is_labelled:
        raise data.DataError(f"{plan.dataset}: has no labels to learn from.")
    learning = data.load(plan.dataset, "learning")
    validation = data.load(plan.dataset, "validation")
    epochs = plan.epochs or usual_epochs(len(learning.images))
    recipe = BaseRecipe.of({"epochs": epochs, **plan.recipe})
    start = _start(plan, whole, store or Store()) if plan.start else None
    usual = constants(learning.images) if start is None else start.card.options
    options = {**usual, **plan.options}
    threads = usual_threads(whole.input_shape)
    with seeded(plan.seed), on_threads(threads):
        module = networks.make(plan.network, whole.input_shape, len(whole.classes), **options)
        if start is not None:
            module.load_state_dict(start.weights)
        loss_of, score_of = _objectives(module.to(device), learning, validation, recipe, device)
        fitted = fit(
            module,
            loss_of,
            len(learning.images),
            score_of,
            recipe,
            seed=plan.seed,
            progress=progress,
            run=run,
        )
    test = data.load(plan.dataset, "test")
    metrics = {
        f"{part}_accuracy": proportion(right(module, images, device), len(images.images))
        for part, images in (("test", test), ("validation", validation))
    }
    module.cpu()
    archive = export_program(module, whole.images[:1])
    card = Card(
        name=default_name(plan),
        hash=content_hash(archive),
        dataset=plan.dataset,
        title=whole.title,
        note=whole.note,
        dataset_sha256=dataset_digest(whole),
        network=plan.network,
        options=options,
        input_shape=whole.input_shape,
        classes=whole.classes,
        metrics=metrics,
        recipe={
            **asdict(recipe),
            "epochs_run": fitted.epochs,
            "best_epoch": fitted.epoch,
            "precision": fitted.precision,
        },
        start=plan.start,
        start_hash="" if start is None else start.card.hash,
        seed=plan.seed,
        versions=versions(),
        device=device_name(device, threads),
        wall_time_s=round(fitted.wall_time_s, 2),
    )
    return Trained(module, archive, card)


def default_name(plan: Plan) -> str:
    """What a base model is called if not told otherwise."""
    return plan.name or f"{_stem(plan.dataset)}-{plan.network}"


@dataclass(frozen=True, eq=False)
class _Start:
    card: Card
    weights: dict[str, Tensor]


def _start(plan: Plan, whole: DataSet, store: Store) -> _Start:
    """The model to begin with, if the plan's is of its kind."""
    card = store.card(plan.start)
    wanted = {
        "network": plan.network,
        "input_shape": whole.input_shape,
        "classes": len(whole.classes),
        **plan.options,
    }
    there = {
        **card.options,
        "network": card.network,
        "input_shape": card.input_shape,
        "classes": len(card.classes),
    }
    for name, value in wanted.items():
        if there.get(name) != value:
            raise ValueError(
                f"Model {plan.start!r} cannot be the start: its {name} is {there.get(name)!r}, "
                f"not {value!r}."
            )
    return _Start(card, store.weights(plan.start))


def _objectives(
    module: nn.Module,
    learning: DataSet,
    validation: DataSet,
    recipe: BaseRecipe,
    device: str,
) -> tuple[Callable[[Tensor], Tensor], Callable[[], float]]:
    """The loss of some training images, and the accuracy on the validation split."""
    images, labels = learning.images.to(device), learning.labels.to(device)

    def loss_of(chosen: Tensor) -> Tensor:
        chosen = chosen.to(device)
        seen = varied(images[chosen], recipe.shift_pixels, recipe.flip)
        return cross_entropy(module(seen).float(), labels[chosen])

    def score_of() -> float:
        return right(module, validation, device) / len(validation.images)

    return loss_of, score_of


def usual_threads(input_shape: tuple[int, ...]) -> int | None:
    """Of the CPU, for a step on images of this shape; None: as many as torch would take."""
    return 1 if math.prod(input_shape) <= ONE_THREAD_NUMBERS else None


def usual_epochs(count: int) -> int:
    """As many as look at half a million examples, within limits."""
    return min(max(EXAMPLES // count, FEWEST_EPOCHS), MOST_EPOCHS)


def _stem(dataset: str) -> str:
    return Path(dataset.removeprefix("idx:").partition(",")[0]).name.partition(".")[0]


def dataset_digest(dataset: DataSet) -> str:
    """SHA-256 of images and labels, as bytes."""
    digest = hashlib.sha256(dataset.images.numpy().data)
    digest.update(dataset.labels.numpy().data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of Python and the packages that matter."""
    packages = {package: version(package) for package in ("kofn", "numpy", "torch")}
    return {"python": platform.python_version(), **packages}


def device_name(device: str, threads: int | None) -> str:
    """What a run was on."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, threads: {threads or torch.get_num_threads()}"
