"""The generated blocks and figures of docs/split-lagrange.md, from records, never typed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from bench import records
from bench.described import content_of
from bench.lagrange import targets
from bench.lagrange.figures import against_answers
from bench.lagrange.plan import Description
from bench.lagrange.table import (
    COST_TITLES,
    STANDING_TITLES,
    STOP_TITLES,
    TITLES,
    cells,
    cost_cells,
    newest,
    standing_cells,
    stop_cells,
)
from bench.readme import generated_by, markdown
from bench.table import Record

TABLE = "lagrange"
NAMES = {
    "digits-lenet": "digits",
    "mnist-lenet": "MNIST",
    "fashion-lenet": "Fashion-MNIST",
    "fashion-lenet-late": "Fashion-MNIST, cut after conv2",
    "cifar10-resnet": "CIFAR-10, from a JPEG copy (quality 75)",
}
PUBLISHED_TITLES = ("data set", "k", "n", "lost", "system", "accuracy", "base", "what", "source")


def described() -> Description:
    """What the table's file says."""
    return TypeAdapter(Description).validate_python(content_of(TABLE))


def accuracy_table(model: str) -> str:
    """Every cell of a model, all systems beside each other."""
    return _block(TITLES, cells, _of(model))


def standing_table() -> str:
    """In how many cells the split network is above each baseline."""
    return _block(STANDING_TITLES, standing_cells, _found())


def stop_table() -> str:
    """Waiting for gain, of all models."""
    return _block(STOP_TITLES, stop_cells, _found())


def cost_table() -> str:
    """What serving costs, of all models."""
    return _block(COST_TITLES, cost_cells, _found())


def target_table() -> str:
    """What was aimed at, and what was reached."""
    aims = described().targets
    return _block(targets.TITLES, lambda found: targets.cells(aims, found), _found())


def published_table() -> str:
    """The papers' figures."""
    return markdown(
        PUBLISHED_TITLES, [tuple(asdict(one).values()) for one in described().published]
    )


def draw(folder: Path) -> Iterator[Path]:
    """Draw the figure of every model that has records; gives the files."""
    for model, name in NAMES.items():
        found = _of(model)
        if found:
            path = folder / f"split-lagrange-{model}.png"
            against_answers(path, found, f"{name}: {model}")
            yield path


def _block(
    titles: Sequence[str],
    cells_of: Callable[[Sequence[Record]], list[tuple[str, ...]]],
    found: Sequence[Record],
) -> str:
    if not found:
        return "Not measured yet.\n"
    return markdown(titles, cells_of(found)) + generated_by(found)


@cache
def _found() -> tuple[Record, ...]:
    return tuple(newest(records.read(TABLE)))


def _of(model: str) -> list[Record]:
    return [record for record in _found() if record["model"] == model]
