"""The generated blocks of docs/coin.md, from records, never typed."""

from collections.abc import Callable, Sequence

from bench import records
from bench.coin.text import ENSEMBLE_TITLES, TITLES, cells, ensemble_cells, newest
from bench.readme import generated_by, markdown
from bench.table import Record

TABLE = "coin"


def accuracy_table(pattern: str) -> str:
    """The settings whose name begins so, all methods beside each other."""
    found = [record for record in _found() if record["setting"].startswith(pattern)]
    if not found:
        return "Not measured yet.\n"
    return _block(TITLES, cells, found)


def ensemble_table() -> str:
    """What the mean of all members is worth."""
    return _block(ENSEMBLE_TITLES, ensemble_cells, [r for r in _found() if "dropped" in r])


def refusals() -> str:
    """What `kofn merge` says to models without a common start."""
    told = dict.fromkeys(record["refused"] for record in _found() if "refused" in record)
    return "".join(f"> {text}\n" for text in list(told)[:1]) or "Not measured yet.\n"


def _found() -> list[Record]:
    return newest(records.read(TABLE))


def _block(
    titles: Sequence[str],
    as_cells: Callable[[Sequence[Record]], list[tuple[str, ...]]],
    found: Sequence[Record],
) -> str:
    if not found:
        return "Not measured yet.\n"
    return markdown(titles, as_cells(found)) + generated_by(found)
