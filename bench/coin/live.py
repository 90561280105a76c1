"""`python -m bench coin-live`: products of models and queries, and lies over models, on digits.

Codes as they serve, with modules in place of workers; networks of the table `coin`'s settings.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from bench import records
from bench.bases import Bar
from bench.coin import grids, lies
from bench.coin.family import Members
from bench.coin.table import CoinTable
from bench.readme import generated_by, markdown
from bench.records import provenance
from bench.tabling import open_table
from bench.telling import Json, Save
from kofn.cli.output import print_table
from kofn.cli.trainings import training_bar
from models.store import Store
from training.loop import on_threads

TABLE = "coin-live"
TWO, THREE = "digits, common start", "digits, three tasks, r = 2"
PRODUCT, LIES = "product", "lies"


def coin_live(
    seeds: Annotated[int, typer.Option(min=1, help="Of the product's networks.")] = 3,
    batches: Annotated[int, typer.Option(min=20, help="With a liar, of each row.")] = 1000,
    store: Annotated[
        Path | None,
        typer.Option(help="For the networks, trained at need; default: beside the user's own."),
    ] = None,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """What a product of models and queries recovers, and which lies codes over models notice."""
    kept = Store(store or Store().root / ".bench").root / ".coin"
    mark = {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m bench coin-live --seeds {seeds} --batches {batches}",
    }
    console = Console(stderr=True, highlight=False)
    measured = _measured(seeds, batches, kept, training_bar)
    with on_threads(1):
        found = [{**row, **mark} for row in track(measured, "measuring", console=console)]
    if save:
        console.print(f"appended to {records.append(TABLE, found)}")
    if as_json:
        print(json.dumps(found))
        return
    rows = grids.cells(_of(found, PRODUCT))
    print_table("Accuracy of lost answers, two models times two queries", grids.TITLES, rows)
    print_table("One liar in every batch", lies.TITLES, map(lies.cells, _of(found, LIES)))


def product_table() -> str:
    """For the document: what a product recovers, as last measured."""
    found = _of(records.newest(TABLE), PRODUCT)
    return _block(grids.TITLES, grids.cells(found), found)


def lies_table() -> str:
    """For the document: which lies are noticed, as last measured."""
    found = _of(records.newest(TABLE), LIES)
    return _block(lies.TITLES, [lies.cells(row) for row in found], found)


def _block(
    titles: Sequence[str], lines: Sequence[Sequence[str]], found: list[dict[str, Any]]
) -> str:
    return markdown(titles, lines) + generated_by(found) if found else "Not measured yet.\n"


def _measured(seeds: int, batches: int, folder: Path, bar: Bar) -> Iterator[dict[str, Any]]:
    table = open_table("coin")
    assert isinstance(table, CoinTable)

    def members(setting: str, seed: int) -> Members:
        (row,) = table.rows(f"{setting}.seed-0")
        return Members(row.setting.family, seed, folder, bar)

    for seed in range(seeds):
        for record in grids.grids(members(TWO, seed)):
            yield _about(PRODUCT, seed) | record | provenance()
    asked = ((TWO, 2, 1, False), (THREE, 3, 2, False), (TWO, 2, 1, True))
    for setting, models, r, product in asked:
        made = lies.lies(members(setting, 0), models, r, product=product, batches=batches)
        for record in made:
            yield _about(LIES, 0) | record | provenance()


def _about(kind: str, seed: int) -> dict[str, Any]:
    return {"table": TABLE, "kind": kind, "dataset": "digits", "model": "digits-cnn", "seed": seed}


def _of(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in found if row["kind"] == kind]
