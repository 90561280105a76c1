"""Figures of accuracy: against lost workers, and against the number of answers waited for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from statistics import mean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.cells import Cell
from report.records import provenance
from report.theme import Drawing, Theme, axes_style, legend, slug, styles

MOST_COLUMNS = 4
FEWEST = 3  # numbers of losses that make a curve
CALIBRATED = ", calibrated"


def against_losses(cells: Iterable[Cell]) -> Iterator[Drawing]:
    """One figure a table and setting that has several numbers of lost workers."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.lost is not None and cell.overall is not None:
            groups.setdefault((cell.table, cell.setting), []).append(cell)
    for (table, setting), found in groups.items():
        panels = _panels(found)
        if panels:
            shown = [cell for panel in panels.values() for line in panel.values() for cell in line]
            columns, rows = _grid(len(panels))
            yield Drawing(
                f"losses-{slug(table)}-{slug(setting)}",
                f"Accuracy against lost workers: {setting}",
                "Share of all queries answered right when so many slots of a coding group are "
                "lost, mean over sets of lost slots; a query without an answer counts as a guess. "
                "Of a code with and without a calibrated decoder the better one is drawn.",
                "measured here",
                partial(_draw, panels, lambda cell: cell.lost, "lost workers"),
                (3.1 * columns + 0.2, 2.7 * rows + 0.8),
                provenance(cell.record for cell in shown),
            )


def against_answers(cells: Iterable[Cell]) -> Iterator[Drawing]:
    """One figure of all codes whose records tell how many answers were waited for."""
    curves: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        if (
            cell.waited is not None
            and cell.overall is not None
            and cell.system == cell.record["code"]
        ):
            label = f"{cell.system}, {cell.panel}"
            curves.setdefault(cell.setting, {}).setdefault(label, []).append(cell)
    if curves:
        shown = [cell for panel in curves.values() for line in panel.values() for cell in line]
        columns, rows = _grid(len(curves))
        yield Drawing(
            "recovery-accuracy",
            "Recovery threshold: accuracy against the answers that are waited for",
            "Share of all queries answered right when the master decodes from so many of the n "
            "results, mean over sets of responders. The dotted line is k.",
            "measured here",
            partial(_draw, curves, lambda cell: cell.waited, "answers waited for", marks_k=True),
            (3.4 * columns + 0.2, 2.9 * rows + 1.2),
            provenance(cell.record for cell in shown),
        )


def _grid(panels: int) -> tuple[int, int]:
    columns = min(MOST_COLUMNS, panels)
    return columns, -(-panels // columns)


def _panels(found: Sequence[Cell]) -> dict[str, dict[str, list[Cell]]]:
    """By panel and system; few numbers of losses are no curve."""
    panels: dict[str, dict[str, list[Cell]]] = {}
    for cell in found:
        panels.setdefault(cell.panel, {}).setdefault(cell.system, []).append(cell)
    kept = {}
    for panel, systems in panels.items():
        lines = {
            name: line
            for name, line in systems.items()
            if len({cell.lost for cell in line}) >= FEWEST
        }
        if lines:
            kept[panel] = _better_decoders(lines)
    return kept


def _better_decoders(lines: dict[str, list[Cell]]) -> dict[str, list[Cell]]:
    """Of "X" and "X, calibrated" the one whose curve is higher on the whole, under the name X."""
    best: dict[str, list[Cell]] = {}
    for name, line in lines.items():
        plain = name.removesuffix(CALIBRATED)
        if plain not in best or _height(line) > _height(best[plain]):
            best[plain] = line
    return best


def _height(line: Sequence[Cell]) -> float:
    return mean(cell.overall or 0.0 for cell in line)


def _draw(
    panels: Mapping[str, Mapping[str, Sequence[Cell]]],
    over: Callable[[Cell], int | None],
    title: str,
    figure: Figure,
    theme: Theme,
    *,
    marks_k: bool = False,
) -> None:
    """A panel each, a line a system: accuracy over a number of each cell, which has a title."""
    columns, rows = _grid(len(panels))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=not marks_k)
    looks = styles((name for systems in panels.values() for name in systems), theme)
    handles = {}
    for axes, (panel, systems) in zip(grid.flat, panels.items(), strict=False):
        for name, cells in systems.items():
            line = sorted(cells, key=lambda cell: over(cell) or 0)
            (handles[name],) = axes.plot(
                [over(cell) for cell in line],
                [100 * (cell.overall or 0.0) for cell in line],
                label=name,
                **looks[name],
            )
        if marks_k:
            for k in sorted({cell.k for line in systems.values() for cell in line if cell.k}):
                axes.axvline(k, color=theme.muted, linestyle=":", linewidth=1)
        axes.set_title(panel)
        axes.set_xlabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes_style(axes)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("right, % of all queries")
    legend(figure, handles, 4)
