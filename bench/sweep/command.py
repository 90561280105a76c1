"""`python -m bench sweep`."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)

from kofn.cli.output import Json, StoreFolder, paper, print_table
from kofn.cli.output import words as console

if TYPE_CHECKING:
    from bench.sweep.folder import Folder
    from bench.sweep.plan import Plan
    from bench.sweep.record import Record
    from models.store import Store

TITLES = (
    "system", "clean", "overall", "lost-only (95 %)", "missing", "p50 ms", "p99", "p99.9", "gap",
    "load n/k", "measured", "worker ms a query", "busy", "kept up",
)  # fmt: skip


def sweep(
    plan: Annotated[
        Path, typer.Argument(help="A YAML file, or the name of a ready plan of bench/plans.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the records; default: out/sweeps/PLAN-DATASET."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="In place of the plan's: digits, mnist, fashion-mnist.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Of load, for a system in a turn; a new plan.")
    ] = None,
    simulated: Annotated[
        int | None,
        typer.Option(
            min=100,
            help="In virtual time instead: so many requests a system and point; --out and "
            "--seconds have no say then.",
        ),
    ] = None,
    save: Annotated[
        bool,
        typer.Option(
            help="Append the records to bench/results/PLAN.jsonl, too; simulated ones to "
            "PLAN-simulated.jsonl."
        ),
    ] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Measure a plan's systems at all its points, in turns, on live clusters.

    Broken off, the same command goes on with the first point that is not finished. Exit status 1
    when a system could not be measured at some point; 2 when the plan or the folder is refused.
    """
    if simulated is not None:
        simulate(plan, dataset, simulated, store, save=save, as_json=as_json)
        return
    measured, found = carry_out(
        plan,
        out,
        dataset,
        seconds,
        store,
        {"table": "sweep", "command": _command(plan, dataset, seconds)},
    )
    if save and measured:
        append(measured[0].plan, measured)
    if as_json:
        for record in found:
            print(record.line())
    else:
        show(found[0].plan, found)
        paper.print(f"{len(measured)} new records, {len(found)} in all")
    if any(record.failure for record in found):
        raise typer.Exit(1)


def simulate(
    plan: Path, dataset: str | None, requests: int, store: Path | None, *, save: bool, as_json: bool
) -> None:
    """`sweep --simulated`; ends the command with status 2 when the plan is refused."""
    from bench import records
    from bench.sweep.plan import read_plan
    from bench.sweep.simulated import TITLES, cells, simulated
    from kofn.settings import SettingsError
    from models.store import Store

    command = f"{_command(plan, dataset, None)} --simulated {requests}"
    about = {
        "table": "simulated-sweeps",
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        **records.provenance(),
    }
    try:
        read = read_plan(plan, dataset=dataset)
        total = sum(len(read.systems(point.workers)) for point in read.points)
        each = simulated(read, requests, Store(store))
        found = [
            {**record, **about} for record in track(each, "simulating", total, console=console)
        ]
    except SettingsError as error:
        console.print(f"[red]sweep[/]: {error}", soft_wrap=True)
        raise typer.Exit(2) from error
    if save:
        console.print(f"appended to {records.append(f'{read.text.name}-simulated', found)}")
    if as_json:
        print(json.dumps(found))
        return
    for point in dict.fromkeys(record["point"] for record in found):
        rows = [cells(record) for record in found if record["point"] == point]
        print_table(f"{read.text.name}, simulated: {point}", TITLES, rows)


def carry_out(
    plan: Path,
    out: Path | None,
    dataset: str | None,
    seconds: float | None,
    store: Path | None,
    marks: Mapping[str, Any],
) -> "tuple[list[Record], list[Record]]":
    """What was measured now, and all that the folder has then; arguments as of `sweep`.

    Ends the command with status 2 when the plan or the folder is refused.

    Args:
        marks: of the records: "table", "command", and "published" where there is.
    """
    from bench.sweep.folder import Folder, FolderError
    from bench.sweep.plan import read_plan
    from bench.sweep.provide import provide
    from bench.sweep.record import RecordError
    from kofn.cli.trainings import training_bar
    from kofn.settings import SettingsError
    from kofn.wire.errors import FailedPrecondition
    from models.store import Store

    try:
        read = read_plan(plan, dataset=dataset, seconds=seconds)
        kept = Store(store)
        where = out or Path("out") / "sweeps" / f"{read.text.name}-{read.text.dataset}"
        systems = {
            point.name: [system.name for system in read.systems(point.workers)]
            for point in read.points
        }
        with Folder(where, read, systems) as folder:
            provide(read, kept, training_bar)
            measured = asyncio.run(_run(read, kept, folder, marks))
            console.print(f"records: {folder.cells}", soft_wrap=True)
            return measured, folder.records()
    except (SettingsError, FolderError, RecordError, FailedPrecondition) as error:
        console.print(f"[red]{marks['table']}[/]: {error}", soft_wrap=True)
        raise typer.Exit(2) from error


async def _run(
    plan: "Plan", store: "Store", folder: "Folder", marks: Mapping[str, Any]
) -> "list[Record]":
    """The points that are left, with a bar and the time that is left."""
    from bench.sweep.run import sweep as run
    from bench.sweep.run import turns

    finished = folder.finished()
    left = [point for point in plan.points if point.name not in finished]
    found: list[Record] = []
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    if finished:
        console.print(f"{len(finished)} of {len(plan.points)} points are there already")
    with Progress(*columns, console=console, transient=True, speed_estimate_period=3600) as bar:
        task = bar.add_task("starting", total=turns(plan, left))
        async for records in run(
            plan, store, folder, marks,
            step=lambda says: bar.update(task, advance=1, description=says),
        ):  # fmt: skip
            found += records
            bar.console.print(f"{records[0].point}: {_summary(records)}")
    return found


def show(title: str, found: "list[Record]") -> None:
    """A table for each point."""
    for point in dict.fromkeys(record.point for record in found):
        rows = [cells(record) for record in found if record.point == point]
        print_table(f"{title}: {point}", TITLES, rows)
    for record in found:
        if record.failure:
            console.print(f"{record.point}, {record.system}: {record.failure}", markup=False)


def cells(record: "Record") -> tuple[object, ...]:
    """A record under `TITLES`."""
    seen = record.measured
    if seen is None:
        return (record.title, *["failed"] * (len(TITLES) - 1))
    lost, late, cost = seen.lost_only, seen.latency, seen.cost
    return (
        record.title,
        "–" if seen.clean is None else f"{seen.clean.value:.4f}",
        f"{seen.overall.value:.4f}",
        "–"
        if lost is None
        else f"{lost.value:.3f} ({lost.interval[0]:.2f}–{lost.interval[1]:.2f}, {lost.count})",
        seen.missing,
        f"{late.p50_ms:.1f}",
        f"{late.p99_ms:.1f}",
        f"{late.p999_ms:.1f}",
        f"{late.tail_gap_ms:.1f}",
        f"{cost.load_factor:.2f}",
        f"{cost.measured_load_factor:.2f}",
        f"{1e3 * cost.worker_s_per_query:.2f}",
        f"{100 * cost.utilisation:.0f} %",
        "yes" if seen.load.kept_up else f"{100 * seen.load.late_share:.0f} % late",
    )


def _summary(records: "list[Record]") -> str:
    done = [record for record in records if record.measured is not None]
    queries = sum(record.measured.queries for record in done if record.measured is not None)
    failed = f", {len(records) - len(done)} failed" if len(done) < len(records) else ""
    return f"{queries} queries to {len(done)} systems{failed}"


def append(name: str, found: "list[Record]") -> None:
    """To bench/results/NAME.jsonl."""
    from bench import records

    path = records.append(name, (record.model_dump(mode="json") for record in found))
    console.print(f"appended to {path}")


def _command(plan: Path, dataset: str | None, seconds: float | None) -> str:
    chosen: dict[str, Any] = {"--dataset": dataset, "--seconds": seconds}
    flags = [f"{flag} {value}" for flag, value in chosen.items() if value is not None]
    return " ".join(["python -m bench sweep", str(plan), *flags])
