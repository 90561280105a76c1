"""`python -m bench simulator` and `simulated-vs-live`: what the simulator is held against."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from bench import records
from bench.records import provenance
from bench.telling import Json, Save
from kofn.cli.output import print_table

OFF = 1  # exit code where a figure is beyond its tolerance


def simulator(
    share: Annotated[
        float, typer.Option(min=0.001, max=1, help="Of the full draws; tolerances grow with it.")
    ] = 1.0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """The simulator beside closed forms: up to 4,000,000 jobs each; exit 1 where one is off."""
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


def simulated_vs_live(
    load: Annotated[
        float,
        typer.Option(min=0.05, max=0.8, help="Of the workers' time, cancelled work included."),
    ] = 0.4,
    seconds: Annotated[float, typer.Option(min=1, help="Of load for each system.")] = 60.0,
    probe_s: Annotated[float, typer.Option(min=5, help="Of the overhead's measurement.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and delays.")] = 0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """A live cluster beside the simulator, under the same laws; exit 1 where a percentile is off.

    Bars: 10 % at p50, 20 % at p99. On a machine with other work it compares that work.
    """
    from bench.simulated.against_live import QUANTILES, SYSTEMS, Load, compare
    from kofn.cli.usual import provide_model
    from kofn.logs import configure_logs

    configure_logs("error")
    provide_model("digits-mlp", None)
    console = Console(stderr=True, highlight=False)
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = f"python -m bench simulated-vs-live --load {load:g} --seconds {seconds:g}"
    about = {**provenance(), "run": run, "command": command, "load": load}

    async def collect() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for row in compare(Load(load, seconds, probe_s, seed)):
            left_s = (seconds + 10) * (len(SYSTEMS) - len(found) - 1)
            console.print(f"{row['system']}: done; {left_s:.0f} s left, about")
            found.append({"table": "simulated-vs-live", **row, **about})
        return found

    rows = asyncio.run(collect())
    if save:
        console.print(f"appended to {records.append('simulated-vs-live', rows)}")
    if as_json:
        print(json.dumps(rows))
    else:
        percentiles = [f"p{100 * q:g}" for q in QUANTILES]
        print_table(
            "Simulated beside live",
            ("system", "requests", *(f"{p} ms, live | simulated" for p in percentiles),
             "decoded, live | simulated", "within"),
            [
                (
                    row["system"],
                    row["requests"],
                    *(
                        f"{row[p]['live_ms']:.1f} | {row[p]['simulated_ms']:.1f} "
                        f"({100 * row[p]['difference']:+.0f} %)"
                        for p in percentiles
                    ),
                    f"{100 * row['decoded']['live']:.1f} | "
                    f"{100 * row['decoded']['simulated']:.1f} %",
                    "yes" if row["is_within"] else "no",
                )
                for row in rows
            ],
        )  # fmt: skip
    for row in rows:
        if not row["kept_up"]:
            console.print(
                f"{row['system']}: the load generator did not keep up; the machine was busy"
            )
    if not all(row["is_within"] for row in rows):
        raise typer.Exit(OFF)
