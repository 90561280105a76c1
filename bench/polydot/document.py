"""The table of docs/polydot.md, from records, never typed."""

from bench import records
from bench.described import content_of
from bench.polydot.table import TITLES, PolydotTable
from bench.readme import generated_by, markdown

TABLE = "polydot"


def table(section: str) -> str:
    """A section in Markdown."""
    made = PolydotTable.of(content_of(TABLE))
    found = [
        {**record, "seed": record["spec"]["seed"]}
        for record in made.newest(records.read(TABLE))
        if record["row"].startswith(f"{section}.")
    ]
    if not found:
        return "Not measured yet.\n"
    return markdown(TITLES, made.cells(found)) + generated_by(found)
