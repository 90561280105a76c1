"""A base model whose linear layers' weights live on nodes while it is trained."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from models import data, networks
from models.cards import Card, proportion
from models.data import DataSet
from models.programs import content_hash, export_program
from training.base import dataset_digest, device_name, versions
from training.coded.linear import coded_layers, decoded, encoded
from training.coded.nodes import Nodes
from training.coded.run import CodedRecipe, CodedTraining, Tell
from training.coded.scheme import spread
from training.coded.weight import Policy, Report
from training.loop import seeded
from training.measure import right


@dataclass(frozen=True)
class CodedPlan:
    """What to train.

    Attributes:
        dataset: as of `models.data.load`; with labels.
        network: of `models.networks`, with linear layers; options: of it.
        dtype: of weights and products.
        blocks: of a weight's rows and columns.
        recipe: how it is trained; seed of the weights, too.
        policy: how hard the coded weights are tried to be kept.
    """

    dataset: str = "digits"
    network: str = "mlp"
    options: dict[str, Any] = field(default_factory=dict)
    dtype: Literal["float32", "float64"] = "float32"
    blocks: tuple[int, int] = (4, 1)
    recipe: CodedRecipe = field(default_factory=CodedRecipe)
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ValueError(
                f"Argument 'dtype' must be 'float32' or 'float64', not {self.dtype!r}."
            )


@dataclass(frozen=True, eq=False)
class CodedTrained:
    """What came of it.

    Attributes:
        module: the model with plain layers again.
        archive: its program; card: what it is, under the name that was asked for.
        report: what happened to the coded weights.
        difference: relative, of the weights from those of the same training without nodes, the
            largest of all layers; None where that was not asked for.
        plain_accuracy: on the test set, of that training.
    """

    module: nn.Module
    archive: bytes
    card: Card
    report: Report
    difference: float | None
    plain_accuracy: float | None


def train_coded(
    plan: CodedPlan,
    nodes: Nodes,
    *,
    name: str = "",
    compare: bool = False,
    report: Report | None = None,
    tell: Tell = lambda step, loss: None,
) -> CodedTrained:
    """Train a model over nodes, and measure it once on the test set.

    Args:
        plan: what to train.
        nodes: that hold the weights of its linear layers.
        name: of the card.
        compare: train it once more without nodes.
        report: to be kept up to date meanwhile.
        tell: called after every step.

    Raises:
        DataError, DataUnavailable: as of `models.data.load`, or there are no labels.
        ValueError: the network has no linear layer, or the code needs more nodes.
        StateLost: more was wrong than retries, repairs and checkpoints mend.
        FloatingPointError: the loss is no longer a number.
    """
    whole = data.load(plan.dataset, "train")
    if not whole.is_labelled:
        raise data.DataError(f"{plan.dataset}: has no labels to learn from.")
    report = report or Report()
    fresh = _fresh(plan, whole)
    model = encoded(fresh, nodes, spread(nodes.count, *plan.blocks), plan.policy, report)
    if not list(coded_layers(model)):
        raise ValueError(f"Network {plan.network!r} has no linear layer to be coded.")
    began_s = time.perf_counter()
    _descend(model, plan, whole, report, tell)
    module = decoded(model)
    took_s = time.perf_counter() - began_s
    test = data.load(plan.dataset, "test")
    difference = plain_accuracy = None
    if compare:
        _descend(fresh, plan, whole, Report(), lambda step, loss: None)
        pairs = zip(module.state_dict().values(), fresh.state_dict().values(), strict=True)
        difference = max(float((a - b).norm() / b.norm()) for a, b in pairs if b.norm())
        plain_accuracy = right(fresh.float(), test) / len(test.images)
    module = module.float()
    archive = export_program(module, whole.images[:1])
    card = Card(
        name=name,
        hash=content_hash(archive),
        dataset=plan.dataset,
        title=whole.title,
        note=whole.note,
        dataset_sha256=dataset_digest(whole),
        network=plan.network,
        options=plan.options,
        input_shape=whole.input_shape,
        classes=whole.classes,
        metrics={"test_accuracy": proportion(right(module, test), len(test.images))},
        recipe={
            **asdict(plan.recipe),
            "coded": {"blocks": list(plan.blocks), "nodes": nodes.count, "dtype": plan.dtype},
        },
        seed=plan.recipe.seed,
        versions=versions(),
        device=device_name("cpu", None),
        wall_time_s=round(took_s, 2),
    )
    return CodedTrained(module, archive, card, report, difference, plain_accuracy)


def _fresh(plan: CodedPlan, whole: DataSet) -> nn.Module:
    with seeded(plan.recipe.seed):
        shape, classes = whole.input_shape, len(whole.classes)
        made = networks.make(plan.network, shape, classes, **plan.options)
    return made.to(_dtype(plan))


def _descend(model: nn.Module, plan: CodedPlan, whole: DataSet, report: Report, tell: Tell) -> None:
    images, labels = whole.images.to(_dtype(plan)), whole.labels

    def loss_of(chosen: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(images[chosen]), labels[chosen])

    CodedTraining(model, loss_of, len(images), plan.recipe, report, tell).run()


def _dtype(plan: CodedPlan) -> torch.dtype:
    return torch.float64 if plan.dtype == "float64" else torch.float32
