"""`python -m bench adaptive`."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import records
from bench.records import provenance
from bench.telling import Json, Save
from kofn.cli.output import print_table


def adaptive(  # noqa: PLR0913 - each flag is an argument to typer
    workers: Annotated[int, typer.Option(min=6, help="How many.")] = 12,
    load: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of their time, nobody straggling.")
    ] = 0.1,
    at: Annotated[str, typer.Option(help="Shares of slow tasks in percent.")] = "0,1,5,20",
    simulated: Annotated[
        int, typer.Option(min=0, help="Requests a system and share to simulate; 0 is none.")
    ] = 20_000,
    live: Annotated[
        int, typer.Option(min=0, help="Requests a system and share on a live cluster; 0 is none.")
    ] = 2_000,
    turns: Annotated[int, typer.Option(min=1, help="Of each system, live.")] = 2,
    task_ms: Annotated[float, typer.Option(min=1, help="A task that is not slow takes.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and stragglers.")] = 0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Adaptive redundancy beside no code, a good hedge and coding at once: tails and load."""
    from bench import adaptive as measuring
    from bench.adaptive import TITLES, Plan, cells
    from kofn.cli.usual import provide_model
    from kofn.logs import configure_logs

    configure_logs("error")
    shares = tuple(float(share) / 100 for share in at.split(","))
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = (
        f"python -m bench adaptive --workers {workers} --load {load:g} --at {at} "
        f"--simulated {simulated} --live {live} --turns {turns} --task-ms {task_ms:g} "
        f"--seed {seed}"
    )
    console = Console(stderr=True, highlight=False)
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        console.print(f"{row['how']}, {100 * row['stragglers']:g} %: {row['system']}")
        rows.append(row)

    async def collect() -> None:
        async for row in measuring.live(Plan(workers, load, shares, live, seed, task_ms), turns):
            keep(row)

    if simulated:
        for row in measuring.simulated(Plan(workers, load, shares, simulated, seed, task_ms)):
            keep(row)
    if live:
        provide_model(measuring.MODEL, None)
        asyncio.run(collect())
    if save:
        about = {
            "table": "adaptive",
            "workers": workers,
            "load": load,
            "seed": seed,
            "run": run,
            "task_ms": task_ms,
        }
        requests = {"simulated": simulated, "live": live}
        kept = [
            {**about, **row, "requests": requests[row["how"]], **provenance(), "command": command}
            for row in rows
        ]
        console.print(f"appended to {records.append('adaptive', kept)}")
    if as_json:
        print(json.dumps(rows))
        return
    for how in dict.fromkeys(row["how"] for row in rows):
        shown = [cells(row, rows) for row in rows if row["how"] == how]
        print_table(f"Adaptive redundancy, {how}: {workers} workers", TITLES, shown)
