"""The summary: what a page says, as Markdown that is short enough to be read in a terminal."""

from collections.abc import Iterator

from report.contents import Report
from report.tables import Table

MOST_ROWS = 40  # a longer table is on the page only
DROPPED = frozenset(
    {"max ms", "error", "bytes a query", "peak MiB, master", "peak MiB, worker", "agreement"}
)  # columns that are on the page only


def summary(told: Report, folder: str) -> str:
    """As Markdown.

    Args:
        told: what is on the page.
        folder: of the figures, as seen from the summary.
    """
    return "\n".join(_lines(told, folder)) + "\n"


def _lines(told: Report, folder: str) -> Iterator[str]:
    yield "# What was measured"
    yield ""
    yield (
        f"From {told.records:,} records. *Measured here* ran on the machines named, *derived* is "
        f"counted, computed or simulated, *published* is what papers say of their own systems."
    )
    if told.verdicts:
        yield "\n## In short\n"
        for one in told.verdicts:
            yield f"- *{one.where}*: **{one.finding}.** {one.details}"
    for section in told.sections:
        yield f"\n## {section.title}\n"
        for drawing in section.drawings:
            yield f"- [{drawing.title}]({folder}/{drawing.name}.svg) ({drawing.origin})"
    yield "\n## Tables"
    for table in told.tables:
        yield f"\n### {table.title}{f' ({table.origin})' if table.origin else ''}\n"
        if len(table.rows) > MOST_ROWS:
            yield f"{len(table.rows)} rows, on the page."
        else:
            yield from _table(table)
        for last in table.made_by[-1:]:
            more = f"; and {len(table.made_by) - 1} more" if len(table.made_by) > 1 else ""
            yield f"\n{last}{more}."


def _table(table: Table) -> Iterator[str]:
    kept = [place for place, column in enumerate(table.columns) if column not in DROPPED]
    yield "| " + " | ".join(table.columns[place] for place in kept) + " |"
    yield "|" + " --- |" * len(kept)
    for row in table.rows:
        yield "| " + " | ".join(row[place].replace("|", "\\|") for place in kept) + " |"
