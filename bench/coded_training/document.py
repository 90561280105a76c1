"""The table and the plot of docs/coded-training.md, from records, never typed."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import records
from bench.coded_training.table import TITLES, CodedTrainingTable
from bench.described import content_of
from bench.plots import COLOURS
from bench.readme import generated_by, markdown
from bench.table import Record

TABLE = "coded-training"
DRAWN = "float64"


def table() -> str:
    """All rows in Markdown."""
    made, found = _found()
    if not found:
        return "Not measured yet.\n"
    return markdown(TITLES, made.cells(found)) + generated_by(found)


def draw(folder: Path) -> Path:
    """Accuracy and retries against the rate of wrong products, as PNG; gives its path.

    Raises:
        LookupError: nothing was measured yet.
    """
    _, found = _found()
    drawn = [record for record in found if record["dtype"] == DRAWN]
    if not drawn:
        raise LookupError(f"There are no records of {TABLE}: python -m bench tables {TABLE}.")
    figure = Figure(figsize=(11, 4.2), layout="constrained", dpi=130)
    left, right = figure.subplots(1, 2, sharex=True)
    names = list(dict.fromkeys(record["scheme"] for record in drawn))
    for place, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        rows = sorted((r for r in drawn if r["scheme"] == name), key=lambda r: float(r["rate"]))
        rates = [100 * row["rate"] + 0.15 * place for row in rows]  # beside each other
        accuracies = [row["accuracy"] or 0.0 for row in rows]  # 0: not even weights are left
        left.plot(rates, accuracies, color=colour, linewidth=1.5, label=name)
        _marks(left, rates, accuracies, rows, colour)
        again = [max(1, row["retries"]) for row in rows]
        right.plot(rates, again, color=colour, linewidth=1.5)
        _marks(right, rates, again, rows, colour)
    left.set_ylabel("accuracy at the end")
    left.set_ylim(-0.03, 1.03)
    right.set_ylabel("products asked for again")
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel("wrong products, %")
        axes.grid(visible=True, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.suptitle("Trained to the end (dots), given up or diverged (crosses)", fontsize=10)
    path = folder / f"{TABLE}.png"
    figure.savefig(path)
    return path


def _marks(
    axes: Axes, at: Sequence[float], values: Sequence[float], rows: Sequence[Record], colour: str
) -> None:
    for x, y, row in zip(at, values, rows, strict=True):
        is_done = row["outcome"] == "done"
        axes.plot([x], [y], "o" if is_done else "x", color=colour, markersize=6 if is_done else 9)


def _found() -> tuple[CodedTrainingTable, list[Record]]:
    made = CodedTrainingTable.of(content_of(TABLE))
    order = {row.name: place for place, row in enumerate(made.rows())}
    found = [record for record in made.newest(records.read(TABLE)) if record["row"] in order]
    return made, sorted(found, key=lambda record: order[record["row"]])
