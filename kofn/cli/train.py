"""`kofn train`: train models into the store."""

from typing import Annotated, Any

import typer

from kofn.cli import train_codes
from kofn.cli.output import Json, StoreFolder, parameters, print_json
from kofn.cli.train_aicc import aicc
from kofn.cli.train_lagrange import lagrange
from kofn.cli.trainings import (
    Device,
    Epochs,
    Fresh,
    Overwrite,
    Seed,
    kept_run,
    train_showing_progress,
)

app = typer.Typer(help="Train models into the store.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train models into the store."""


@app.command()
def base(  # noqa: PLR0913 - each flag is an argument to typer
    dataset: Annotated[
        str, typer.Option(help="digits, mnist, fashion-mnist, cifar10, or files of your own.")
    ] = "digits",
    network: Annotated[
        str | None, typer.Option(help="mlp, lenet or resnet18; default: the start's, else mlp.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="Model of the store to train on from; default: fresh weights.")
    ] = "",
    name: Annotated[
        str | None, typer.Option(help="In the store; default: DATASET-NETWORK.")
    ] = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Of the network, such as width=16, or of the recipe: shift_pixels=1, flip=true.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    fresh: Fresh = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Train a base model: the network whose answers a cluster serves."""
    from dataclasses import asdict, fields

    from models.folder import NameTaken
    from models.store import Store
    from training.base import BaseRecipe, Plan, default_name

    kept = Store(store)
    network = network or (kept.card(start).network if start else "mlp")
    given = parameters(settings)
    of_recipe = {item.name for item in fields(BaseRecipe)}
    choices: dict[str, Any] = {
        "name": name,
        "options": {key: value for key, value in given.items() if key not in of_recipe},
        "recipe": {key: value for key, value in given.items() if key in of_recipe},
        "seed": seed,
        "epochs": epochs,
        "start": start,
    }
    plan = Plan(dataset, network, **choices)
    called = default_name(plan)
    if called in kept.names() and not overwrite:
        raise NameTaken(f"Model {called!r} is kept already: choose --name, or --overwrite it.")
    with kept_run(kept, called, asdict(plan), fresh=fresh) as run:
        card = train_showing_progress(
            dataset,
            network,
            store=kept,
            device=device,
            overwrite=overwrite,
            run=run,
            **choices,
        )
    if as_json:
        print_json(asdict(card))


for command in (
    train_codes.parity,
    train_codes.learned,
    train_codes.student,
    train_codes.assisted,
    lagrange,
    aicc,
):
    app.command()(command)
