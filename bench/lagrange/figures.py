"""Figures of the table of split Lagrange networks: accuracy against the number of answers."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.plots import COLOURS
from bench.table import Record

Part = Callable[[Record], Record | None]


def _of(section: str, name: str) -> Part:
    return lambda record: record[section].get(name)


# What is drawn, in the order of its colours; the first is drawn last, over the others.
SYSTEMS: dict[str, Part] = {
    "split Lagrange": lambda record: record,
    "systematic": _of("variants", "systematic"),
    "approximate backup": _of("baselines", "backup"),
    "replication": _of("baselines", "replication"),
    "Berrut, calibrated": _of("baselines", "berrut, calibrated"),
    "spline, calibrated": _of("baselines", "spline, calibrated"),
    "uncoded": _of("baselines", "uncoded"),
}
MOST_COLUMNS = 4


def against_answers(path: Path, found: Iterable[Record], title: str) -> None:
    """Draw the accuracy of all systems over the number of answers, a panel a k and n, as PNG.

    Args:
        path: where to.
        found: the newest records of one model.
        title: above the figure.
    """
    panels: dict[tuple[int, int], list[Record]] = {}
    for record in found:
        if record["lost"] is not None:
            panels.setdefault((record["k"], record["n"]), []).append(record)
    ks = sorted({k for k, _ in panels})
    figure = Figure(figsize=(3.1 * MOST_COLUMNS, 3.0 * len(ks) + 0.7), layout="constrained", dpi=70)
    grid = figure.subplots(len(ks), MOST_COLUMNS, squeeze=False)
    handles: list[Any] = []
    for row, k in zip(grid, ks, strict=True):
        mine = sorted(key for key in panels if key[0] == k)
        for axes, key in zip(row, mine, strict=False):
            handles = _panel(axes, panels[key])
            axes.set_title(f"k = {k}, n = {key[1]}", fontsize=10)
        row[0].set_ylabel("accuracy, % of all queries")
        for axes in row[len(mine) :]:
            axes.set_visible(False)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(SYSTEMS), frameon=False, fontsize=9
    )
    figure.suptitle(f"{title}: mean over sets of responders, dashed the worst set", fontsize=11)
    figure.savefig(path)


def _panel(axes: Axes, found: list[Record]) -> list[Any]:
    handles = []
    for colour, (name, part) in zip(COLOURS, SYSTEMS.items(), strict=False):
        points = [(record["answers"], of) for record in found if (of := part(record))]
        at = [answers for answers, _ in points]
        width, order = (2.4, 3) if name == "split Lagrange" else (1.3, 2)
        for which, style in (("overall", "-"), ("worst", "--")):
            (line,) = axes.plot(
                at,
                [100 * of[which] for _, of in points],
                style,
                color=colour,
                label=name,
                linewidth=width if style == "-" else 0.6 * width,
                zorder=order,
            )
            if style == "-" and points:
                handles.append(line)
    axes.set_xlabel("answers")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return handles
