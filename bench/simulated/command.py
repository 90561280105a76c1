"""`python -m bench simulator`: the simulator beside closed forms, to their stated tolerances."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from bench import records
from bench.code_commands import Json, Save
from bench.records import provenance
from kofn.cli.output import print_table

OFF = 1  # exit code where a figure is beyond its tolerance


def simulator(
    share: Annotated[
        float, typer.Option(min=0.001, max=1, help="Of the full draws; tolerances grow with it.")
    ] = 1.0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """The simulator beside closed forms: 400,000 draws, 4,000,000 jobs; exit 1 where one is off."""
    from bench.simulated.closed_forms import cases

    console = Console(stderr=True)
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = "python -m bench simulator" + (f" --share {share:g}" if share != 1 else "")
    about = {**provenance(), "run": run, "command": command}
    rows = [
        {"table": "simulator", **case.measure(share), **about}
        for case in track(list(cases()), "simulating", console=console)
    ]
    if save:
        console.print(f"appended to {records.append('simulator', rows)}")
    if as_json:
        print(json.dumps(rows))
    else:
        signs = {"equal": "", "at most": "≤ ", "at least": "≥ "}
        print_table(
            "The simulator beside closed forms",
            ("fact", "formula", "theory", "simulated", "difference", "allowed", "requests",
             "method", "s"),
            [
                (
                    row["fact"],
                    row["formula"],
                    f"{signs[row['bound']]}{row['theory']:.5g}",
                    f"{row['simulated']:.5g}",
                    f"{100 * row['difference']:+.2f} %" + ("" if row["is_within"] else " OFF"),
                    f"{100 * row['allowed']:.2g} %",
                    f"{row['requests']:,}",
                    row["method"],
                    f"{row['seconds']:.1f}",
                )
                for row in rows
            ],
        )  # fmt: skip
    if not all(row["is_within"] for row in rows):
        raise typer.Exit(OFF)
