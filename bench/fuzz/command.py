"""`python -m bench fuzz`."""

import asyncio
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from bench.records import append, provenance
from bench.telling import Json, Save
from kofn.cli.output import print_json, print_table
from kofn.cli.output import words as console

FAILED = 1


def fuzz(
    calls: Annotated[int, typer.Option(min=1, help="Mutated messages and random bytes.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of all of them.")] = 0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Fire malformed calls at every method of a cluster; fails on crash, hang, growth or bug.

    A good request is asked between them, and must be answered. Exit status 1 when something is
    wrong; the logs are kept.
    """
    from bench.fuzz import run

    folder = Path(tempfile.mkdtemp(prefix="kofn-fuzz-"))
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("firing", total=calls)
        firing = run.fuzz(calls, seed, folder, lambda done: bar.update(task, completed=done))
        found = asyncio.run(firing)
    record: dict[str, Any] = {
        "calls": found.calls,
        "seed": seed,
        "seconds": round(found.seconds, 1),
        "good": found.good,
        "statuses": dict(found.statuses.most_common()),
        "memory_mb": found.memory_mb,
        "wrong": dict(found.wrong),
        **provenance(),
        "run": began,
        "command": f"python -m bench fuzz --calls {calls} --seed {seed}",
    }
    if save:
        append("fuzz", [record])
    if as_json:
        print_json(record)
    else:
        rows = [
            ("calls", found.calls),
            ("calls/s", round(found.calls / found.seconds)),
            ("good requests between them, answered right", found.good),
            *((f"ended with {status}", count) for status, count in found.statuses.most_common()),
            *((f"{name}, MiB, warm → end", " → ".join(map(str, sizes)))
              for name, sizes in found.memory_mb.items()),
            ("wrong", sum(found.wrong.values())),
        ]  # fmt: skip
        print_table(f"Fuzzed calls, seed {seed}", ("what", "value"), rows)
    for told, count in found.wrong.most_common():
        console.print(f"{count} x {told}", markup=False, style="red")
    if found.wrong:
        console.print(f"logs in {folder}", markup=False)
        raise typer.Exit(FAILED)
