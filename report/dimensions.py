"""Figures of sweeps: what changes with workers, losses, load or law, with R, and the fronts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.fronts import pareto
from report.records import Record, provenance
from report.sweeps import (
    DIMENSIONS,
    Point,
    accuracy,
    by_plan,
    called,
    overall,
    quantile_ms,
    tail_quantile,
)
from report.theme import Drawing, Theme, axes_style, legend, log_scale, slug, styles

Value = Callable[[Record], float | None]


def _percent(name: str) -> Value:
    def of(record: Record) -> float | None:
        value = accuracy(record["measured"][name])
        return None if value is None else 100 * value

    return of


# What is drawn over a dimension: title, value, whether on a log scale.
QUANTITIES: tuple[tuple[str, Value, bool], ...] = (
    ("p95, ms", lambda r: quantile_ms(r, 0.95), True),
    ("p99, ms", lambda r: r["measured"]["latency"]["p99_ms"], True),
    ("right, % of all queries", _percent("overall"), False),
    ("right, % of lost queries", _percent("lost_only"), False),
    ("worker ms a query", lambda r: 1e3 * r["measured"]["cost"]["worker_s_per_query"], False),
    ("slots sent a query", lambda r: r["measured"]["cost"]["measured_load_factor"], False),
)


def over_dimensions(found: Sequence[Point]) -> Iterator[Drawing]:
    """One figure a plan and dimension that varies in it, all else being equal."""
    for plan, points in by_plan(found).items():
        for dimension, title in DIMENSIONS.items():
            others = [name for name in ("dataset", *DIMENSIONS) if name != dimension]
            groups: dict[tuple[Any, ...], list[Point]] = {}
            for point in points:
                groups.setdefault(tuple(point.value(name) for name in others), []).append(point)
            for fixed, group in groups.items():
                if len({point.value(dimension) for point in group}) < 2:
                    continue
                told = dict(zip(others, fixed, strict=True))
                rest = [f"{told[name]} {DIMENSIONS[name]}" for name in others
                        if name in ("workers", "lost")]  # fmt: skip
                rest += [told["straggler"]] if "straggler" in told else []
                rest += [f"{told['offered_qps']:g} queries/s"] if "offered_qps" in told else []
                yield Drawing(
                    f"sweep-{slug(plan)}-{dimension.replace('_', '-')}-{slug(str(fixed))}",
                    f"{plan}: {told['dataset']} over {title.partition(',')[0]}",
                    f"At {', '.join(rest)}. Lost queries are those whose own worker's answer was "
                    f"missing; worker time counts injected delay and cancelled work.",
                    "measured here",
                    partial(_draw_dimension, dimension, group),
                    (9.6, 5.9),
                    provenance(r for point in group for r in point.records),
                )


def over_thresholds(found: Iterable[Point]) -> Iterator[Drawing]:
    """One figure a point at which a family of systems waits for different numbers of answers."""
    for point in found:
        families: dict[str, list[Record]] = {}
        for record in point.records:
            if record["recovery_threshold"] is not None:
                families.setdefault(record["family"], []).append(record)
        curves = {
            name: sorted(records, key=lambda one: one["recovery_threshold"])
            for name, records in families.items()
            if len({one["recovery_threshold"] for one in records}) > 1
        }
        if curves:
            yield Drawing(
                f"threshold-{slug(point.plan)}-{slug(point.value('dataset'))}-{slug(point.name)}",
                f"Recovery threshold R: {point.title}",
                "Waiting for more answers is more accurate and slower. Dotted lines are the other "
                "systems of the same point.",
                "measured here",
                partial(_draw_thresholds, point, curves),
                (9.6, 5.9),
                provenance(point.records),
            )


def fronts(found: Iterable[Point]) -> Iterator[Drawing]:
    """One figure a point: tail, accuracy, and cost as the size of the mark."""
    for point in found:
        if len(point.records) > 2:
            yield Drawing(
                f"front-{slug(point.plan)}-{slug(point.value('dataset'))}-{slug(point.name)}",
                f"Tail, accuracy and cost: {point.title}",
                "Up and left is better. The area of a mark is worker time a query; ringed are "
                "those that no other beats in tail, accuracy and worker time at once.",
                "measured here",
                partial(_draw_front, point),
                (9.6, 4.6),
                provenance(point.records),
            )


def front(point: Point) -> list[Record]:
    """The systems of a point that no other beats in tail, accuracy and worker time at once."""
    quantile = tail_quantile(point.records)
    coordinates = [
        (
            quantile_ms(r, quantile),
            -overall(r),
            float(r["measured"]["cost"]["worker_s_per_query"]),
        )
        for r in point.records
    ]
    return [point.records[place] for place in pareto(coordinates)]


def _draw_dimension(dimension: str, group: Sequence[Point], figure: Figure, theme: Theme) -> None:
    is_number = dimension != "straggler"
    group = sorted(group, key=lambda point: point.value(dimension)) if is_number else list(group)
    at = [float(p.value(dimension)) if is_number else float(i) for i, p in enumerate(group)]
    systems = list(dict.fromkeys(str(r["title"]) for point in group for r in point.records))
    looks = styles(systems, theme)
    panels = figure.subplots(2, 3, squeeze=False).flat
    handles = {}
    for axes, (title, value, is_log) in zip(panels, QUANTITIES, strict=True):
        for name in systems:
            drawn = [
                (x, y)
                for x, point in zip(at, group, strict=True)
                for r in point.records
                if r["title"] == name and (y := value(r)) is not None
            ]
            if drawn:
                (handles[name],) = axes.plot(*zip(*drawn, strict=True), label=name, **looks[name])
        _finish(axes, title, is_log)
        if is_number:
            axes.set_xlabel(DIMENSIONS[dimension])
            if all(x.is_integer() for x in at):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            names = [str(point.value(dimension)) for point in group]
            axes.set_xticks(at, names, rotation=20, ha="right")
    legend(figure, handles, 3)


def _draw_thresholds(
    point: Point,
    curves: dict[str, list[Record]],
    figure: Figure,
    theme: Theme,
) -> None:
    rest = [r for r in point.records if all(r not in curve for curve in curves.values())]
    looks = styles([*curves, *(str(r["title"]) for r in rest)], theme)
    panels = figure.subplots(2, 3, squeeze=False).flat
    handles = {}
    for axes, (title, value, is_log) in zip(panels, QUANTITIES, strict=True):
        for name, curve in curves.items():
            drawn = [(r["recovery_threshold"], y) for r in curve if (y := value(r)) is not None]
            if drawn:
                (handles[name],) = axes.plot(*zip(*drawn, strict=True), label=name, **looks[name])
        for record in rest:
            level = value(record)
            if level is not None:
                name = str(record["title"])
                style = looks[name]
                handles[name] = axes.axhline(
                    level, color=style["color"], linestyle=":", linewidth=1.3, label=name
                )
        _finish(axes, title, is_log)
        axes.set_xlabel("R, answers waited for")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, handles, 3)


def _draw_front(point: Point, figure: Figure, theme: Theme) -> None:
    axes = figure.subplots()
    best, quantile = front(point), tail_quantile(point.records)
    looks = styles((str(r["title"]) for r in point.records), theme)
    dearest = max(r["measured"]["cost"]["worker_s_per_query"] for r in point.records) or 1.0
    handles = {}
    for record in point.records:
        measured, name = record["measured"], str(record["title"])
        style = looks[name]
        x, y = quantile_ms(record, quantile), 100 * overall(record)
        area = 30 + 250 * measured["cost"]["worker_s_per_query"] / dearest
        axes.scatter([x], [y], s=area, color=style["color"], marker="o", alpha=0.75)
        if record in best:
            ring = (np.sqrt(area) + 7) ** 2
            axes.scatter([x], [y], s=ring, facecolor="none", edgecolor=theme.ink, linewidth=1.2)
        cost = 1e3 * measured["cost"]["worker_s_per_query"]
        (handles[name],) = axes.plot(
            [], [], linestyle="", marker="o", color=style["color"],
            label=f"{name}: {cost:.3g} ms a query",
        )  # fmt: skip
    log_scale(axes, "x")
    axes.set_xlabel(f"{called(quantile)}, ms")
    axes.set_ylabel("right, % of all queries")
    axes.margins(0.12, 0.15)
    axes_style(axes)
    legend(figure, handles, 3)


def _finish(axes: Axes, title: str, is_log: bool) -> None:
    if is_log:
        log_scale(axes, "y")
    axes.set_title(title)
    axes_style(axes)
