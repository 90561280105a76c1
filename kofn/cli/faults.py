"""`kofn faults`: change what the workers of a running cluster inject, by hand or by scenario."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from kofn.cli.chaos import Cluster
from kofn.cli.connection import At, connecting
from kofn.cli.output import Json, print_json, print_table
from kofn.cli.timeline import carry_out, in_words
from kofn.wire import control_pb2
from kofn.wire.errors import InvalidArgument

app = typer.Typer(help="Delays, failures and lies of a running cluster.", no_args_is_help=True)

Workers = Annotated[
    list[str] | None,
    typer.Option("--worker", "-w", help="Name or address; may be repeated; default: all."),
]


@app.command("set")
@connecting
def set_(
    faults: Annotated[
        str,
        typer.Argument(help="As in a scenario: '{delay: {law: constant, value_ms: 300}}'"),
    ],
    workers: Workers = None,
    as_json: Json = False,
    *,
    at: At,
) -> None:
    """Replace the faults of some workers, or of all."""
    from worker.faults_text import parse_faults

    text = parse_faults(faults).inlined(Path()).json_text()
    with at.client() as client:
        _print(client.set_faults(text, workers or ()), as_json)


@app.command()
@connecting
def clear(workers: Workers = None, as_json: Json = False, *, at: At) -> None:
    """Let some workers, or all, work properly again."""
    with at.client() as client:
        _print(client.set_faults(None, workers or ()), as_json)


@app.command()
@connecting
def show(workers: Workers = None, as_json: Json = False, *, at: At) -> None:
    """Tell the faults in force."""
    with at.client() as client:
        _print(client.get_faults(workers or ()), as_json)


@app.command()
@connecting
def run(
    scenario: Annotated[
        str, typer.Argument(help="A YAML file, or one of those that come with it by name.")
    ],
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave in force what is so after the last step.")
    ] = False,
    cluster: Cluster = None,
    *,
    at: At,
) -> None:
    """Carry a scenario out, step by step at its times; at the end, or on Ctrl-C, undo all."""
    from worker.scenario import SCENARIOS, read_scenario

    path = Path(scenario)
    shipped = SCENARIOS / f"{scenario}.yaml"
    if not path.exists() and shipped.exists():
        path = shipped
    elif not path.exists():
        names = ", ".join(sorted(file.stem for file in SCENARIOS.glob("*.yaml")))
        raise typer.BadParameter(f"there is no file {scenario!r}, and ready ones are: {names}.")
    asyncio.run(carry_out(read_scenario(path), at, keep=keep, cluster=cluster))


def _print(reply: control_pb2.FaultsReply, as_json: bool) -> None:
    rows = [
        {
            "worker": item.worker,
            "faults": json.loads(item.faults_json or "{}"),
            "error": item.error,
        }
        for item in sorted(reply.workers, key=lambda item: item.worker)
    ]
    if as_json:
        print_json(rows)
    else:
        cells = [(row["worker"], in_words(row["faults"])) for row in rows]
        print_table("Faults", ("worker", "faults"), cells)
    failed = [f"{row['worker']}: {row['error']}" for row in rows if row["error"]]
    if failed:
        raise InvalidArgument("; ".join(failed))
