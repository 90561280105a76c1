"""`python -m bench matmul`: a coded product beside an uncoded one and NumPy, with a straggler."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from bench import records
from bench.telling import Json, Save
from kofn.cli.output import print_table


def matmul(
    size: Annotated[int, typer.Option(min=16, help="Of both operands, float32.")] = 4096,
    workers: Annotated[int, typer.Option(min=2, max=64, help="Processes here.")] = 12,
    turns: Annotated[int, typer.Option(min=1, help="Of each variant.")] = 3,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Wall time of a coded product, with one worker ten times slower than the others."""
    from bench.matmul import TITLES, Setting, cells, measure

    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = f"python -m bench matmul --size {size} --workers {workers} --turns {turns}"
    made = asyncio.run(measure(Setting(size, workers, turns)))
    about = {**records.provenance(), "run": run, "command": command}
    rows = [{**row, **about} for row in made]
    console = Console(stderr=True, highlight=False)
    if save:
        console.print(f"appended to {records.append('matmul', rows)}")
    if as_json:
        print(json.dumps(rows))
        return
    first = rows[0]
    print_table(f"{size} x {size} float32, {first['code']}", TITLES, map(cells, rows))
    console.print(
        f"a worker's product takes {first['usual_s']:.2f} s; the straggler's "
        f"{first['delay_s']:.2f} s longer; the error is at most {first['estimate']:.1e}",
        markup=False,
    )
