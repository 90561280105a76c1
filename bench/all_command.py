"""`python -m bench all`."""

from pathlib import Path
from typing import Annotated

import typer

from bench import records
from kofn.cli.output import words as console


def all_(
    only: Annotated[str, typer.Option(help="Steps whose name matches: 'soak', 'l*'.")] = "*",
    out: Annotated[Path, typer.Option(help="For the log of what is done, and the report.")] = Path(
        "out/all"
    ),
    again: Annotated[bool, typer.Option(help="Steps that are done, too.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Say what would run, and end.")] = False,
) -> None:
    """Run every table and plan of bench/suite.toml in sequence, and draw the report anew.

    Broken off, the same command goes on: steps that ended well are not repeated, and those that
    train or sweep go on where they were. Exit status 1 when a step ended badly; the others run.
    """
    from bench.suite import done, run, steps
    from report.building import build

    log = out / "log.jsonl"
    wanted = steps(only)
    if show:
        before = set() if again else done(log)
        for step in wanted:
            state = "done" if (step.name, step.command) in before else "to do"
            print(f"{step.name}: {state}: python -m bench {step.command}")
        return
    failed = run(wanted, log, lambda line: console.print(line, markup=False, soft_wrap=True), again)
    page = build([records.RESULTS], out / "report", lambda name: None)
    print(page)
    if failed:
        names = ", ".join(step.name for step in failed)
        console.print(f"[red]ended badly[/]: {names}", soft_wrap=True)
        raise typer.Exit(1)
