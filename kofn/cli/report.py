"""`kofn report`: records as one page, a summary and figures."""

from pathlib import Path
from typing import Annotated

import typer

from kofn.cli.output import paper, words


def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="Files of records (JSON lines), or folders with *.jsonl in them."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, report.md and figures/.")
    ] = Path("kofn-report"),
) -> None:
    """Draw what was measured: one page that loads nothing, a Markdown summary, and every figure.

    Records are those of `python -m bench`: sweeps, tables, soaks, and whatever else it appended.
    Of what was measured twice the newest counts.
    """
    from report.building import build

    with words.status("reading") as status:
        page = build(results, out, lambda name: status.update(f"drawing {name}"))
    paper.print(str(page), soft_wrap=True)
