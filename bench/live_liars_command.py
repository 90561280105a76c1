"""`python -m bench live-liars`."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.telling import Json, Save, tell


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
    rows: list[dict[str, Any]] = []

    async def measured() -> None:
        for count, share in cases:
            told = {"run": run, "command": command}
            rows.extend([r | told async for r in measure(dataset, count, share, images, seed)])

    with Console(stderr=True, highlight=False).status(f"measuring {len(cases)} clusters"):
        asyncio.run(measured())
    title = "Groups of images, one after the other"
    tell("live-liars", rows, title, TITLES, cells, save=save, as_json=as_json)
