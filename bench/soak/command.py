"""`python -m bench soak`."""

import asyncio
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.code_commands import Json
from bench.records import provenance
from bench.soak.cluster import Backend
from kofn.cli.output import print_table
from kofn.cli.output import words as console

MOST_SHOWN = 20  # violations


def soak(
    seconds: Annotated[float, typer.Option(min=10, help="Of load.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of load and chaos.")] = 0,
    workers: Annotated[
        int, typer.Option(min=9, max=64, help="Three more than any code has slots, or more.")
    ] = 9,
    backend: Annotated[
        Backend, typer.Option(help="Where workers run: local, docker (the image kofn:latest).")
    ] = "local",
    record: Annotated[
        Path | None, typer.Option(help="Append the record, a line of JSON, to this file.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the run as PNG.")] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="For the models, trained at need; default: beside the user's own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Mixed load under random chaos; fails on any lost, duplicated or wrong answer, and on leaks.

    Exit status 1 when something is wrong; it is told, and the services' logs are kept.
    """
    from bench.soak import report
    from bench.soak.run import Settings
    from bench.soak.run import soak as run
    from models.store import Store

    run_at = datetime.now(UTC).isoformat(timespec="seconds")
    folder = Path(tempfile.mkdtemp(prefix="kofn-soak-"))
    kept = Store(store or Store().root / ".bench")
    settings = Settings(seconds, seed, workers, backend)
    with Progress(
        TextColumn("soaking"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
        console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("starting the cluster", total=seconds)
        with (folder / "events.log").open("w", buffering=1) as events:

            def tell(line: str) -> None:
                bar.console.print(line)
                events.write(line + "\n")

            soaked = asyncio.run(
                run(
                    settings, kept, folder, tell,
                    lambda now, says: bar.update(task, completed=now, description=says),
                )
            )  # fmt: skip
    found = {
        **report.record(soaked), **provenance(), "run": run_at,
        "command": f"python -m bench soak --backend {backend} --seconds {seconds:g}",
    }  # fmt: skip
    if record is not None:
        with record.open("a") as file:
            file.write(json.dumps(found) + "\n")
    if plot is not None:
        report.draw(found, plot)
    if as_json:
        print(json.dumps(found))
    else:
        print_table(f"Soak of {seconds:g} s", report.TITLES, report.cells(found))
        for line in report.words(found):
            print(line)
    if not soaked.violations:
        shutil.rmtree(folder)
        return
    for violation in soaked.violations[:MOST_SHOWN]:
        console.print(f"[red]{violation.kind}[/]: ", end="")
        console.print(violation.what, markup=False)
    more = len(soaked.violations) - MOST_SHOWN
    if more > 0:
        console.print(f"and {more} more")
    console.print(f"logs of the services and of what was done to them: {folder}")
    raise typer.Exit(1)
