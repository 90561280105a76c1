"""`python -m bench soak`."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.records import provenance
from bench.soak.cluster import Backend
from bench.telling import Json
from kofn.cli.connection import At, Control, PeerName, TlsFolder, TokenFile
from kofn.cli.output import print_table
from kofn.cli.output import words as console

MOST_SHOWN = 20  # violations
CONNECTION = ("control", "tls", "tls_peer_name", "token_file")


def soak(  # noqa: PLR0913 - each flag is an argument to typer
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=10, help="Of load.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of load and chaos.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=9, max=64, help="Three more than any code has slots at least; default: 9."
        ),
    ] = None,
    backend: Annotated[
        Backend | None,
        typer.Option(help="Where workers run: local, docker (the image kofn:latest)."),
    ] = None,
    master: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a cluster that runs already, with nine workers or more: faults are "
            "injected only, memory and logs not looked at. What else it serves suffers, too."
        ),
    ] = None,
    control: Control = None,
    tls: TlsFolder = None,
    tls_peer_name: PeerName = None,
    token_file: TokenFile = None,
    record: Annotated[
        Path | None, typer.Option(help="Append the record, a line of JSON, to this file.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the run as PNG.")] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="For the models, trained at need; default: beside the user's own, with --master "
            "the user's own, as it must be the master's."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Mixed load under random chaos; fails on any lost, duplicated or wrong answer, and on leaks.

    Exit status 1 when something is wrong; it is told, and the services' logs are kept.
    """
    import kofn
    from bench.soak import report
    from bench.soak.run import Settings, soak_running
    from bench.soak.run import soak as run
    from models.store import Store

    launched = (workers, backend, record, plot)
    if master is not None and any(given is not None for given in launched):
        raise typer.BadParameter(
            "goes without --backend, --workers, --record and --plot: the processes of a cluster "
            "that runs already are neither harmed nor watched.",
            param_hint="--master",
        )
    if master is None and (wished := _written(context, CONNECTION)):
        raise typer.BadParameter(
            "goes with --master: a cluster of its own speaks plaintext on loopback.",
            param_hint=wished,
        )
    run_at = datetime.now(UTC).isoformat(timespec="seconds")
    folder = Path(tempfile.mkdtemp(prefix="kofn-soak-"))
    kept = Store(store or (Store().root / ".bench" if master is None else None))
    settings = Settings(seconds, seed, workers or 9, backend or "local")
    at = None if master is None else At(master, control, tls, tls_peer_name, token_file)
    where = f"--backend {settings.backend}" if master is None else f"--master {master}"
    with Progress(
        TextColumn("soaking"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
        console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("starting the cluster", total=seconds)
        with (folder / "events.log").open("w", buffering=1) as events:

            def tell(line: str) -> None:
                bar.console.print(line)
                events.write(line + "\n")

            def show(now: float, says: str) -> None:
                bar.update(task, completed=now, description=says)

            if at is None:
                running = run(settings, kept, folder, tell, show)
            else:
                running = soak_running(at, settings, kept, tell, show)
            try:
                soaked = asyncio.run(running)
            except (kofn.KofnError, ValueError) as error:
                bar.console.print(f"[red]soak[/]: {error}; logs, if there are any: {folder}")
                raise typer.Exit(2) from error
    found = {
        **report.record(soaked), **provenance(), "run": run_at,
        "command": f"python -m bench soak {where} --seconds {seconds:g}",
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


def _written(context: typer.Context, names: Iterable[str]) -> str:
    """The first of these flags that the command line has; the shell may have others for `kofn`."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            return "--" + name.replace("_", "-")
    return ""
