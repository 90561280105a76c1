"""Figures of what accuracy costs in counted work; those that nothing beats are joined."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from report.cells import Cell
from report.records import provenance
from report.theme import Drawing, Theme, axes_style, legend, slug, styles

TABLES = ("frontier", "learned-codes", "cuts")  # whose systems differ in more than losses
FEWEST = 4  # systems of a panel
COLUMNS = 3
BASELINES = ("replication", "backup", "approximate backup", "uncoded")  # beginnings of names
OTHERS = "others, in the table"


def pareto(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Places of the points that no other beats: each coordinate is better when it is smaller.

    Of equal points all are kept.
    """
    return [
        place
        for place, point in enumerate(points)
        if not any(
            all(o <= p for o, p in zip(other, point, strict=True)) and other != point
            for other in points
        )
    ]


def of_costs(cells: Iterable[Cell]) -> Iterator[Drawing]:
    """One figure a table and setting; a panel has one size of groups and one number of losses."""
    settings: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        if cell.table in TABLES and cell.lost and None not in (cell.cost, cell.overall):
            panel = f"k = {cell.k}, n = {cell.n}, {cell.lost} lost"
            settings.setdefault((cell.table, cell.setting), {}).setdefault(panel, []).append(cell)
    for (table, setting), found in settings.items():
        panels = {name: panel for name, panel in found.items() if len(panel) >= FEWEST}
        if panels:
            columns = min(COLUMNS, len(panels))
            yield Drawing(
                f"front-{slug(table)}-{slug(setting)}",
                f"Accuracy against cost: {setting}",
                "Cost is derived: multiply-adds, counted as forward passes of the whole model a "
                "query. Joined are those that nothing beats: no other is cheaper and better. They "
                "and the baselines have names.",
                "measured here",
                partial(_draw, panels),
                (3.6 * columns + 1.2, 3.1 * -(-len(panels) // columns) + 1.2),
                provenance(cell.record for panel in panels.values() for cell in panel),
            )


def _draw(panels: dict[str, list[Cell]], figure: Figure, theme: Theme) -> None:
    columns = min(COLUMNS, len(panels))
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False)
    fronts = {title: _front(found) for title, found in panels.items()}
    named = dict.fromkeys(
        cell.system
        for title, found in panels.items()
        for cell in found
        if cell in fronts[title] or cell.system.startswith(BASELINES)
    )
    looks, handles = styles(named, theme), {}
    for axes, (title, found) in zip(grid.flat, panels.items(), strict=False):
        best = sorted({_place(cell) for cell in fronts[title]})
        axes.plot(*zip(*best, strict=True), color=theme.muted, linewidth=1.2,
                  drawstyle="steps-post", zorder=1)  # fmt: skip
        for cell in found:
            x, y = _place(cell)
            look = looks.get(cell.system)
            label = OTHERS if look is None else cell.system
            look = look or {"color": theme.muted, "marker": ".", "alpha": 0.6}
            (handles[label],) = axes.plot(
                [x], [y], label=label, **look | {"linestyle": "", "markersize": 8}
            )
        axes.set_title(title)
        axes.set_xlabel("forward passes a query")
        axes.margins(0.08, 0.1)
        axes_style(axes)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("right, % of all queries")
    if OTHERS in handles:
        handles[OTHERS] = handles.pop(OTHERS)  # last
    legend(figure, handles, 2)


def _front(found: Sequence[Cell]) -> list[Cell]:
    return [
        found[place] for place in pareto([(cost, -right) for cost, right in map(_place, found)])
    ]


def _place(cell: Cell) -> tuple[float, float]:
    return cell.cost or 0.0, 100 * (cell.overall or 0.0)
