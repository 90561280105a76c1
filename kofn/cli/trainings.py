"""A training on the terminal: its progress, and the run that it can be gone on with from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kofn.cli.output import words

if TYPE_CHECKING:
    from models.cards import Card
    from models.store import Store
    from training.loop import Progress
    from training.run import Run


Epochs = Annotated[int | None, typer.Option(min=1, help="At most.")]
Seed = Annotated[int, typer.Option(help="Of weights, order and noise.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a stored one.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Begin anew where a run was broken off; else go on.")
]


@contextmanager
def training_bar(title: str) -> Iterator[Callable[["Progress"], None]]:
    """A progress bar with the time left, and what tells it."""
    from rich import progress as rich

    columns = (
        rich.TextColumn("training {task.description}"),
        rich.BarColumn(),
        rich.TextColumn(
            "epoch {task.fields[epoch]}, loss {task.fields[loss]:.3f}{task.fields[at]}"
        ),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=words, transient=True) as shown:
        bar = shown.add_task(title, total=1.0, epoch=0, loss=float("nan"), at="")

        def tell(now: "Progress") -> None:
            score = "" if now.score is None else f", validation {now.score:.4f}"
            shown.update(bar, completed=now.done, epoch=now.epoch, loss=now.loss, at=score)

        yield tell


@contextmanager
def kept_run(
    store: "Store", name: str, config: Mapping[str, Any], *, fresh: bool
) -> Iterator["Run"]:
    """The run of a model's training, beside the models: gone on with where it was broken off."""
    from training.run import Run

    run = Run(store.root / ".runs" / name, config, fresh=fresh)
    if run.epoch:
        words.print(f"going on after epoch {run.epoch}; --fresh would begin anew")
    try:
        yield run
    except KeyboardInterrupt:
        words.print(f"stopped after epoch {run.epoch}; the same command goes on from there")
        raise
    run.finish()
    words.print(f"metrics of every epoch: {run.folder}")


def train_showing_progress(dataset: str, network: str, *, store: "Store", **choices: Any) -> "Card":
    """`training.base.train_and_store` with a bar on the terminal."""
    from training.base import train_and_store

    with training_bar(f"{network} on {dataset}") as progress:
        card = train_and_store(dataset, network, store=store, progress=progress, **choices)
    accuracy = card.metrics["test_accuracy"]
    words.print(f"{card.name}: test accuracy {accuracy.value:.4f} on {accuracy.count} images")
    return card
