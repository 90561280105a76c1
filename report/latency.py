"""Figures of latency: how many queries were answered within a time, and how many took longer."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from report.records import provenance
from report.sweeps import Point, survival
from report.theme import Drawing, Theme, axes_style, log_scale, slug, styles

MARKED = {"p50": ("p50_ms", 0.5), "p99": ("p99_ms", 0.99), "p99.9": ("p999_ms", 0.999)}


def of_points(found: Iterable[Point]) -> Iterator[Drawing]:
    """One figure a point."""
    for point in found:
        counts = sorted({record["measured"]["latency"]["count"] for record in point.records})
        few = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
        slow = [r["title"] for r in point.records if not r["measured"]["load"]["kept_up"]]
        warned = f" The load generator did not keep up for {', '.join(slow)}." if slow else ""
        missing = [r["title"] for r in point.records if r["measured"]["missing"]]
        cut = (
            f" Of {', '.join(missing)} some queries had no answer by the deadline, where their "
            f"curves end."
            if missing
            else ""
        )
        yield Drawing(
            f"latency-{slug(point.plan)}-{slug(point.value('dataset'))}-{slug(point.name)}",
            f"Latency: {point.title}",
            f"Left, the share of queries answered within a time; right, the share that took "
            f"longer, with p50, p99 and p99.9 marked. {few} queries a system, from the intended "
            f"send time.{cut}{warned}",
            "measured here",
            partial(_draw, point),
            (9.6, 4.3),
            provenance(point.records),
        )


def _draw(point: Point, figure: Figure, theme: Theme) -> None:
    whole, tail = figure.subplots(1, 2)
    looks = styles((str(record["title"]) for record in point.records), theme)
    floor = min(1 / record["measured"]["latency"]["count"] for record in point.records)
    for record in point.records:
        ends, beyond = survival(record)
        title, latency = str(record["title"]), record["measured"]["latency"]
        style = dict(looks[title])
        marker, size = style.pop("marker"), style.pop("markersize")
        whole.step(ends, 1 - beyond, where="post", label=title, **style)
        # the last query is drawn at 1/count: nothing is 0 on this axis
        tail.step(ends, np.maximum(beyond, 1 / latency["count"]), where="post", **style)
        for name, share in MARKED.values():
            spot = {"color": style["color"], "marker": marker, "markersize": size, "zorder": 5}
            if 1 - share >= 1 / latency["count"]:
                tail.plot([latency[name]], [1 - share], linestyle="", **spot)
    for axes in (whole, tail):
        log_scale(axes, "x")
        axes.set_xlabel("latency, ms")
        axes_style(axes)
    whole.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    whole.set_ylabel("answered within")
    whole.set_ylim(0, 1.03)
    tail.set_yscale("log")
    tail.set_ylim(0.8 * floor, 1.2)
    tail.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    tail.set_ylabel("took longer")
    for name, (_, share) in MARKED.items():
        tail.axhline(1 - share, color=theme.muted, linewidth=0.9, linestyle=":")
        tail.annotate(
            name, (0.0, 1 - share), xycoords=("axes fraction", "data"), xytext=(3, 2),
            textcoords="offset points", color=theme.muted, fontsize=8,
        )  # fmt: skip
    figure.legend(
        *whole.get_legend_handles_labels(), loc="outside lower center",
        ncols=min(4, len(point.records)),
    )  # fmt: skip
