"""Figures: the distribution of latency, whole and in its tail."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#999999")
QUANTILES = (0.5, 0.9, 0.99, 0.999)
FLOOR, CEILING = 0.01, 3.0  # of errors that are drawn


def latency_cdf(
    path: Path, latencies_s: Mapping[str, npt.NDArray[np.float64]], title: str, subtitle: str = ""
) -> None:
    """Draw the share of requests answered within a time, and the share that took longer, as PNG.

    Args:
        path: where to.
        latencies_s: of each system, by its name; every one drawn in the given order.
        title, subtitle: above the figure.
    """
    points = {
        name: (np.sort(values), np.ones(len(values), np.int64))
        for name, values in latencies_s.items()
    }
    counted_latency_cdf(path, points, title, subtitle)


def counted_latency_cdf(
    path: Path,
    points: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]],
    title: str,
    subtitle: str = "",
) -> None:
    """The same of latencies in seconds, ascending, that were met so many times each."""
    figure = Figure(figsize=(11, 4.6), layout="constrained", dpi=150)
    whole, tail = figure.subplots(1, 2)
    for colour, (name, (latencies_s, counts)) in zip(COLOURS, points.items(), strict=False):
        ms = 1e3 * latencies_s
        share = np.cumsum(counts) / counts.sum()
        beyond = 1 - share + counts / counts.sum()
        whole.step(ms, share, where="post", color=colour, label=name, linewidth=2)
        tail.step(ms, beyond, where="pre", color=colour, label=name, linewidth=2)
    for axes in (whole, tail):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("latency, ms")
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    whole.set_ylabel("share of requests answered")
    whole.set_ylim(0, 1.02)
    whole.legend(loc="lower right", frameon=False)
    tail.set_yscale("log")
    tail.set_ylabel("share of requests that took longer")
    for quantile in QUANTILES[1:]:
        tail.axhline(1 - quantile, color="0.6", linewidth=0.8, linestyle=":")
        tail.annotate(
            f"p{100 * quantile:g}",
            (1.0, 1 - quantile),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            color="0.4",
            fontsize=8,
        )
    figure.suptitle(title, fontweight="bold")
    if subtitle:
        whole.set_title(subtitle, loc="left", fontsize=9, color="0.35")
    figure.savefig(path)


def errors_by_answers(
    path: Path, panels: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]
) -> None:
    """Draw errors against the number of answers, two rows of panels, as PNG.

    Args:
        path: where to.
        panels: by title, by system, entries with answers, mean and worst (over sets of responders).
    """
    figure = Figure(figsize=(13, 7), layout="constrained", dpi=130)
    grid = figure.subplots(2, -(-len(panels) // 2), sharex=True, sharey=True, squeeze=False)
    for axes, (title, systems) in zip(grid.flat, panels.items(), strict=False):
        for place, (name, errors) in enumerate(systems.items()):
            is_trained = name.startswith("trained")
            axes.plot(
                [error["answers"] for error in errors],
                [max(error["mean"], FLOOR) for error in errors],
                color=COLOURS[place % len(COLOURS)],
                label=name,
                linewidth=2 if is_trained else 1.3,
                linestyle="-" if is_trained else "--",
                marker="o" if is_trained else None,
                markersize=4,
            )
        axes.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_title(title, fontsize=10)
        axes.set_yscale("log")
        axes.set_ylim(FLOOR, CEILING)
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("answers")
    for axes in grid[:, 0]:
        axes.set_ylabel("error, share of the variance")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)
