"""`kofn train`: train models into the store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kofn.cli.output import Json, Settings, StoreFolder, parameters, print_json, words

if TYPE_CHECKING:
    from models.cards import Card
    from models.store import Store

app = typer.Typer(help="Train models into the store.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train models into the store."""


@app.command()
def base(  # noqa: PLR0913 - each flag is an argument to typer
    dataset: Annotated[
        str, typer.Option(help="digits, mnist, fashion-mnist, cifar10, or files of your own.")
    ] = "digits",
    network: Annotated[str, typer.Option(help="mlp, lenet or resnet18.")] = "mlp",
    name: Annotated[
        str | None, typer.Option(help="In the store; default: DATASET-NETWORK.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a stored one.")] = False,
    record: Annotated[Path | None, typer.Option(help="Append each epoch as JSON here.")] = None,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Train a base model: the network whose answers a cluster serves."""
    from dataclasses import asdict

    from models.store import Store

    card = train_showing_progress(
        dataset,
        network,
        store=Store(store),
        name=name,
        epochs=epochs,
        seed=seed,
        device=device,
        options=parameters(settings),
        overwrite=overwrite,
        record=record,
    )
    if as_json:
        print_json(asdict(card))


def train_showing_progress(dataset: str, network: str, *, store: "Store", **choices: Any) -> "Card":
    """`training.base.train_and_store` with a bar on the terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from training.base import train_and_store

    columns = (
        TextColumn("training {task.description}"),
        BarColumn(),
        TextColumn("epoch {task.fields[epoch]}, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=words, transient=True) as progress:
        bar = progress.add_task(f"{network} on {dataset}", total=1.0, epoch=0, loss=float("nan"))
        card = train_and_store(
            dataset,
            network,
            store=store,
            progress=lambda at: progress.update(
                bar, completed=at.done, epoch=at.epoch, loss=at.loss
            ),
            **choices,
        )
    accuracy = card.metrics["test_accuracy"]
    words.print(f"{card.name}: test accuracy {accuracy.value:.4f} on {accuracy.count} images")
    return card
