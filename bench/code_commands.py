"""Commands of `python -m bench` that measure codes without a cluster: liars, coding, frontier."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from bench.telling import Json, Save, tell


def liars(
    workers: Annotated[str, typer.Option(help="Numbers of workers, comma-separated.")] = "17,12",
    groups: Annotated[str, typer.Option(help="Groups judged together.")] = "1,4,16",
    batches: Annotated[int, typer.Option(min=20, help="Of each row.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of groups, liars and lies.")] = 0,
    store: Annotated[
        Path | None,
        typer.Option(help="For the models, trained at need; default: beside the user's own."),
    ] = None,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Which share of liars is found, and what a liar costs in accuracy."""
    import torch

    from bench.liars import TITLES, cells, measure_all
    from models.store import Store

    torch.set_num_threads(1)
    kept = Store(store or Store().root / ".bench")
    counts = [int(n) for n in workers.split(",")], [int(g) for g in groups.split(",")]
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = f"python -m bench liars --workers {workers} --groups {groups} --batches {batches}"
    console = Console(stderr=True, highlight=False)
    found = track(measure_all(kept, *counts, batches, seed), "measuring", console=console)
    rows = [{**row, "run": run, "command": command} for row in found]
    tell("liars", rows, "One liar in every batch", TITLES, cells, save=save, as_json=as_json)


def coding(
    classes: Annotated[int, typer.Option(min=1, help="Entries of an answer.")] = 1000,
    groups: Annotated[int, typer.Option(min=1, help="Coding groups in a batch.")] = 32,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """What decoding takes, and what a set of responders costs that was not met before."""
    import torch

    from bench.coding import TITLES, cells, measure, settings

    torch.set_num_threads(1)
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = f"python -m bench coding --classes {classes} --groups {groups}"
    rows = [{**measure(one), "run": run, "command": command} for one in settings(classes, groups)]
    title = "Arithmetic of codes, medians on one thread"
    tell("coding", rows, title, TITLES, cells, save=save, as_json=as_json)


def frontier(
    rows: Annotated[str, typer.Option(help="Of the table of cuts, by name.")] = "cifar10-resnet.*",
    losses: Annotated[str, typer.Option(help="Lost slots, comma-separated.")] = "1,2",
    epochs: Annotated[int, typer.Option(min=1, help="Of the student.")] = 10,
    store: Annotated[
        Path | None,
        typer.Option(help="For the models, trained at need; default: beside the user's own."),
    ] = None,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Split networks with a student's estimates, beside the backup: what each idea gives."""
    import torch

    from bench.cuts.table import CutsTable
    from bench.frontier import TITLES, cells, run
    from bench.lagrange.plan import Helper
    from bench.tabling import open_table
    from kofn.cli.trainings import training_bar
    from models.store import Store

    torch.set_num_threads(1)
    table = open_table("cuts")
    assert isinstance(table, CutsTable)
    helper = Helper("backup", epochs=epochs, recipe={"shift_pixels": 4, "flip": True})
    kept = Store(store or Store().root / ".bench")
    mark = {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m bench frontier --rows '{rows}' --losses {losses}",
    }
    lost = [int(count) for count in losses.split(",")]
    found = [{**record, **mark} for record in run(table, rows, helper, lost, kept, training_bar)]
    title = "Side information, and what each idea gives"
    tell("frontier", found, title, TITLES, cells, save=save, as_json=as_json)
