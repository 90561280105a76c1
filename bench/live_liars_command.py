"""`python -m bench live-liars`."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import records
from bench.code_commands import Json, Save
from kofn.cli.output import print_table


def live_liars(
    dataset: Annotated[str, typer.Option(help="Its LeNet must be in the store.")] = "fashion-mnist",
    workers: Annotated[str, typer.Option(help="Numbers of workers, for 12 slots.")] = "12,13",
    recheck: Annotated[str, typer.Option(help="Of the policy, comma-separated.")] = "0,0.4",
    images: Annotated[int, typer.Option(min=8, help="Of the test set, each time.")] = 1600,
    seed: Annotated[int, typer.Option(help="Of their order.")] = 0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """What a lying worker costs on a live cluster, in accuracy, latency and tasks."""
    from bench.live_liars import TITLES, cells, measure

    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = (
        f"python -m bench live-liars --dataset {dataset} --workers {workers} --recheck {recheck} "
        f"--images {images} --seed {seed}"
    )
    cases = [(int(w), float(share)) for w in workers.split(",") for share in recheck.split(",")]
    console = Console(stderr=True, highlight=False)
    rows: list[dict[str, Any]] = []

    async def measured() -> None:
        for count, share in cases:
            told = {"run": run, "command": command}
            rows.extend([r | told async for r in measure(dataset, count, share, images, seed)])

    with console.status(f"measuring {len(cases)} clusters"):
        asyncio.run(measured())
    if save:
        console.print(f"appended to {records.append('live-liars', rows)}")
    if as_json:
        print(json.dumps(rows))
        return
    print_table("Groups of images, one after the other", TITLES, map(cells, rows))
