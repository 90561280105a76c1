"""`python -m bench tables coded-training`: one network, trained on nodes that compute wrongly."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as checked
from torch import Tensor, nn

from bench.bases import Bar
from bench.coded_training.grids import copies, rows_and_columns
from bench.described import STRICT, plain
from bench.records import provenance
from bench.table import Record, Table
from models import data, networks
from models.store import Store
from training.coded import LocalNodes, Policy, Rates, Report, StateLost, decoded, encoded
from training.coded.local import NO_FAULTS
from training.coded.run import CodedRecipe, CodedTraining
from training.coded.scheme import Scheme, polydot
from training.loop import Progress, on_threads, seeded

NODES = 12
SHARE = 4  # an encoding and an update are wrong this many times less often than a product
TITLES = (
    "scheme", "type", "wrong products", "outcome", "accuracy", "weights differ by", "faults",
    "retries", "roll-backs", "repaired", "s",
)  # fmt: skip


@checked(frozen=True, config=STRICT)
class Spread:
    """How a weight is spread over nodes.

    Attributes:
        kind: "copies", `more` of each block; "rows-and-columns", with `more` of each; "polydot".
        blocks: of a weight's rows and columns.
        more: see there.
        dtypes: of weights, a row each.
    """

    kind: Literal["copies", "rows-and-columns", "polydot"]
    blocks: tuple[int, int]
    more: int = 0
    dtypes: list[Literal["float64", "float32"]] = field(default_factory=lambda: ["float64"])

    def scheme(self, rows: int, columns: int, dtype: "np.dtype[Any]") -> Scheme:
        """For a weight of this shape."""
        if self.kind == "polydot":
            return polydot(rows, columns, dtype, NODES, *self.blocks)
        make = copies if self.kind == "copies" else rows_and_columns
        return make(rows, columns, dtype, *self.blocks, self.more)


@checked(frozen=True, config=STRICT)
class Description:
    """The whole table: a training, and what differs from row to row."""

    title: str
    dataset: str
    hidden: list[int]
    steps: int
    batch_size: int
    lr: float
    checkpoint_every: int
    scrub_every: int
    patience_s: float
    rates: list[float]
    schemes: dict[str, Spread]
    momentum: float = 0.0
    seed: int = 0
    kind: Literal["coded-training"] = "coded-training"

    def recipe(self, most_epochs: int | None) -> CodedRecipe:
        """An epoch of `most_epochs` counts as twenty steps."""
        steps = self.steps if most_epochs is None else min(self.steps, 20 * most_epochs)
        return CodedRecipe(
            steps, self.batch_size, self.lr, self.momentum,
            checkpoint_every=self.checkpoint_every, seed=self.seed,
        )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        scheme: its name; spread: how.
        dtype: of weights.
        rate: of wrong products.
        recipe: of the training.
        dataset, hidden, scrub_every, patience_s, seed: as described.
    """

    scheme: str
    spread: Spread
    dtype: str
    rate: float
    recipe: CodedRecipe
    dataset: str
    hidden: tuple[int, ...]
    scrub_every: int
    patience_s: float
    seed: int

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.scheme}.{self.dtype}.{100 * self.rate:g}%"

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out."""
        return plain(self)


class GivenUp(Exception):
    """A training took longer than it may."""


class CodedTrainingTable(Table[Row]):
    """Trainings by several schemes and rates of faults."""

    kind = "coded-training"
    titles: ClassVar[tuple[str, ...]] = TITLES

    def __init__(self, content: dict[str, Any]) -> None:
        self._description = TypeAdapter(Description).validate_python(content)
        self.title = self._description.title

    @classmethod
    def of(cls, content: dict[str, Any]) -> "CodedTrainingTable":
        """From what its file says; raises ValueError."""
        return cls(content)

    def rows(self, pattern: str = "*", most_epochs: int | None = None) -> list[Row]:
        """See `Table`."""
        said = self._description
        made = [
            Row(
                name, spread, dtype, rate, said.recipe(most_epochs), said.dataset,
                tuple(said.hidden), said.scrub_every, said.patience_s, said.seed,
            )
            for name, spread in said.schemes.items()
            for dtype in spread.dtypes
            for rate in said.rates
        ]  # fmt: skip
        return [row for row in made if fnmatchcase(row.name, pattern)]

    def run(self, row: Row, store: Store, bar: Bar, device: str) -> Iterator[Record]:
        """See `Table`; on the CPU, in one thread."""
        with on_threads(1), bar(row.name) as progress:
            yield {**_trained(row, progress), **provenance()}

    def failed(self, row: Row, error: Exception) -> Record:
        """See `Table`."""
        return {"row": row.name, "spec": row.spec, "error": repr(error), **provenance()}

    def says(self, record: Record) -> str:
        """See `Table`."""
        return f"{record['outcome']}, accuracy {_number(record['accuracy'], '.4f')}"

    def newest(self, found: Iterable[Record]) -> list[Record]:
        """See `Table`."""
        return list({record["row"]: record for record in found if "error" not in record}.values())

    def cells(self, found: Sequence[Record]) -> list[tuple[str, ...]]:
        """See `Table`."""
        return [
            (
                record["scheme"],
                record["dtype"],
                f"{100 * record['rate']:g} %",
                record["outcome"],
                _number(record["accuracy"], ".4f"),
                _number(record["difference"], ".1e"),
                str(record["faults"]),
                str(record["retries"]),
                str(record["rollbacks"]),
                str(record["repaired"]),
                f"{record['seconds']:.0f}",
            )
            for record in found
        ]


def _number(value: float | None, shape: str) -> str:
    return "–" if value is None else format(value, shape)


def _trained(row: Row, progress: Callable[[Progress], None]) -> Record:
    began = time.perf_counter()
    report = Report()
    nodes = LocalNodes(NODES, NO_FAULTS, row.seed)
    policy = Policy(scrub_every=row.scrub_every)
    dtype = getattr(torch, row.dtype)
    model = encoded(_fresh(row.dataset, row.hidden, row.seed).to(dtype), nodes,
                    row.spread.scheme, policy, report)  # fmt: skip
    nodes.rates = Rates(row.rate, row.rate / SHARE, row.rate / SHARE)
    images, labels = _examples(row.dataset, "train")
    images = images.to(dtype)
    steps = 0

    def tell(step: int, loss: float) -> None:
        nonlocal steps
        steps = step
        elapsed_s = time.perf_counter() - began
        done = step / row.recipe.steps
        eta_s = elapsed_s * (1 / done - 1)
        progress(Progress(0, 0, done, loss, None, elapsed_s, eta_s))
        if elapsed_s > row.patience_s:
            raise GivenUp

    outcome = "done"
    training = CodedTraining(
        model, lambda chosen: nn.functional.cross_entropy(model(images[chosen]), labels[chosen]),
        len(images), row.recipe, report, tell,
    )  # fmt: skip
    try:
        training.run()
    except FloatingPointError:
        outcome = f"diverged at step {steps}"
    except (GivenUp, StateLost):
        outcome = f"given up at step {steps}"
    seconds = time.perf_counter() - began
    accuracy, difference = _worth(row, model, nodes)
    return {
        "row": row.name,
        "spec": row.spec,
        "scheme": row.scheme,
        "nodes": NODES,
        "dtype": row.dtype,
        "rate": row.rate,
        "outcome": outcome,
        "steps": steps,
        "accuracy": accuracy,
        "difference": difference,
        "faults": nodes.faults,
        "located": report.located,
        "retries": report.retries,
        "resent": report.resent,
        "rollbacks": report.rollbacks,
        "repaired": report.repaired,
        "seconds": round(seconds, 2),
        "seed": row.seed,
    }


def _worth(row: Row, model: nn.Module, nodes: LocalNodes) -> tuple[float | None, float | None]:
    """Test accuracy of the weights as they are, and their distance from a training without faults;
    None where the nodes do not give the weights any more, or where these are no numbers."""
    nodes.rates = NO_FAULTS
    try:
        found = decoded(model)
    except StateLost:
        return None, None
    images, labels = _examples(row.dataset, "test")
    dtype = getattr(torch, row.dtype)
    with torch.no_grad():
        accuracy = float((found(images.to(dtype)).argmax(1) == labels).double().mean())
    reference = _reference(row.dataset, row.hidden, row.dtype, row.recipe, row.seed)
    pairs = zip(found.state_dict().values(), reference.values(), strict=True)
    differences = [float((a - b).norm() / b.norm()) for a, b in pairs]
    return accuracy, max(differences) if np.isfinite(differences).all() else None


@cache
def _reference(
    dataset: str, hidden: tuple[int, ...], dtype: str, recipe: CodedRecipe, seed: int
) -> dict[str, Tensor]:
    """Weights of the same training without nodes and without faults."""
    model = _fresh(dataset, hidden, seed).to(getattr(torch, dtype))
    images, labels = _examples(dataset, "train")
    images = images.to(getattr(torch, dtype))
    CodedTraining(
        model, lambda chosen: nn.functional.cross_entropy(model(images[chosen]), labels[chosen]),
        len(images), recipe,
    ).run()  # fmt: skip
    return model.state_dict()


def _fresh(dataset: str, hidden: tuple[int, ...], seed: int) -> nn.Module:
    found = data.load(dataset, "train")
    with seeded(seed):
        shape, classes = found.images.shape[1:], len(found.classes)
        return networks.make("mlp", shape, classes, hidden=hidden)


@cache
def _examples(dataset: str, split: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
    found = data.load(dataset, split)
    return found.images, found.labels
