"""`python -m bench devices`."""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from bench import records
from bench.telling import Json, Save
from kofn.cli.output import print_table
from kofn.wire.errors import KofnError


def devices(
    model: Annotated[str, typer.Option(help="Name in the model store.")] = "digits-lenet",
    on: Annotated[str, typer.Option(help="Devices: cpu, cuda, cuda:1; comma-separated.")] = "cpu",
    precisions: Annotated[
        str, typer.Option(help="float32, bfloat16, float16; comma-separated.")
    ] = "float32,bfloat16",
    batches: Annotated[str, typer.Option(help="Images a forward pass.")] = "1,32,256",
    threads: Annotated[int, typer.Option(min=1, help="Of torch, on the processor.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each row.")] = 2.0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Forward passes of a worker, by device and precision: time, and what half precision costs."""
    from bench.devices import CPU, TITLES, Setting, cells, measure_all
    from kofn.cli.usual import provide_model

    provide_model(model, None)
    settings = [
        Setting(device, precision, threads if device == CPU else 1, int(batch))
        for device in on.split(",")
        for precision in precisions.split(",")
        for batch in batches.split(",")
    ]
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = f"python -m bench devices --model {model} --on {on} --precisions {precisions}"
    about = {
        "table": "devices",
        **records.provenance(),
        "run": run,
        "command": f"{command} --batches {batches}",
    }
    console = Console(stderr=True, highlight=False)
    found = track(
        measure_all(model, settings, seconds), "measuring", total=len(settings), console=console
    )
    try:
        rows = [{**about, **row} for row in found]
    except KofnError as error:  # no such device
        print(error.message, file=sys.stderr)
        raise typer.Exit(2) from error
    if save:
        console.print(f"appended to {records.append('devices', rows)}")
    if as_json:
        print(json.dumps(rows))
        return
    print_table(f"Forward passes: {model}", TITLES, map(cells, rows))
