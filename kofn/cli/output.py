"""What commands share: tables or JSON on standard output, words to the user on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

WIDTH = 150
# Results; a file or a pipe has no width of its own, and folded tables are hard to read there.
paper = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
# Progress, hints and errors.
words = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDTH)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", envvar="KOFN_STORE", help="Model store; default: the user's own."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A further parameter; may be repeated."),
]


def print_json(value: Any) -> None:
    """One JSON document."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers, which are all but the first column as a rule, stand to the right."""
    table = Table(title=title, title_justify="left", title_style="bold")
    texts = [[str(cell) for cell in row] for row in rows]
    for position, column in enumerate(columns):
        cells = [row[position] for row in texts]
        is_numeric = bool(cells) and all(_starts_as_number(cell) for cell in cells)
        table.add_column(
            column,
            justify="right" if is_numeric else "left",
            overflow="fold",
            no_wrap=position == 0,  # names stay whole
        )
    for row in texts:
        table.add_row(*row)
    paper.print(table)


def parameters(settings: Sequence[str] | None, flag: str = "--set") -> dict[str, Any]:
    """NAME=VALUE texts as a mapping; values are YAML scalars.

    Raises:
        typer.BadParameter: one has no "=".
    """
    import yaml

    found = {}
    for text in settings or ():
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"must be NAME=VALUE, not {text!r}.", param_hint=flag)
        found[name] = _number(yaml.safe_load(value))
    return found


def _number(value: Any) -> Any:
    """1e-3 too, which YAML takes for a text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _starts_as_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-–+"
