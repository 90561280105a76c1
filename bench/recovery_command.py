"""`python -m bench recovery`."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from bench import records
from bench.records import provenance
from bench.telling import Json, Save
from kofn.cli.output import print_table


def recovery(
    model: Annotated[str, typer.Option(help="Name in the model store.")] = "digits-mlp",
    rounds: Annotated[int, typer.Option(min=1, help="Each freezes and kills one worker.")] = 5,
    concurrency: Annotated[int, typer.Option(min=1, help="Clients that keep asking.")] = 2,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """How soon a frozen or killed worker is out, and a returned one back at work."""
    from bench.recovery import STEPS, measure
    from kofn.cli.usual import provide_model

    provide_model(model, None)
    console = Console(stderr=True)
    with console.status("measuring"):
        found = asyncio.run(measure(model, rounds, concurrency))
    row = {
        "table": "recovery", **found, **provenance(),
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m bench recovery --rounds {rounds} --concurrency {concurrency}",
    }  # fmt: skip
    if save:
        console.print(f"appended to {records.append('recovery', [row])}")
    if as_json:
        print(json.dumps(row))
        return
    print_table(
        f"Recovery of {found['workers']} workers, k = {found['k']}: seconds over {rounds} rounds; "
        f"of {found['requests']} requests meanwhile {found['failed']} failed, the slowest took "
        f"{found['slowest_ms']:.0f} ms",
        ("from", "median", "max"),
        [
            (text, f"{found[step]['median']:.3f}", f"{found[step]['max']:.3f}")
            for step, text in STEPS.items()
        ],
    )
