"""How commands of `python -m bench` end: records kept, and told as a table or as JSON."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.console import Console

from bench import records
from bench.table import Record
from kofn.cli.output import print_table

Json = Annotated[bool, typer.Option("--json", help="Print records instead of a table.")]
Save = Annotated[bool, typer.Option(help="Append the records to bench/results.")]


def tell(
    name: str,
    rows: Sequence[Record],
    title: str,
    titles: Sequence[str],
    cells: Callable[[Record], Sequence[object]],
    *,
    save: bool,
    as_json: bool,
) -> None:
    """Keep and print the records of one run.

    Args:
        name: of their file.
        rows: the records.
        title: of the table.
        titles: of its columns.
        cells: a record's, in their order.
        save: append them to the file.
        as_json: print them instead of the table.
    """
    if save:
        path = records.append(name, list(rows))
        Console(stderr=True, highlight=False).print(f"appended to {path}")
    if as_json:
        print(json.dumps(rows))
        return
    print_table(title, titles, map(cells, rows))
