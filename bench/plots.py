"""Figures: the distribution of latency, whole and in its tail."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
QUANTILES = (0.5, 0.9, 0.99, 0.999)


def latency_cdf(
    path: Path, latencies_s: Mapping[str, Sequence[float]], title: str, subtitle: str = ""
) -> None:
    """Draw the share of requests answered within a time, and the share that took longer, as PNG.

    Args:
        path: where to.
        latencies_s: of each system, by its name; every one drawn in the given order.
        title, subtitle: above the figure.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained", dpi=150)
    whole, tail = figure.subplots(1, 2)
    for colour, (name, values) in zip(COLOURS, latencies_s.items(), strict=False):
        ms = 1e3 * np.sort(np.asarray(values))
        share = np.arange(1, len(ms) + 1) / len(ms)
        whole.step(ms, share, where="post", color=colour, label=name, linewidth=2)
        tail.step(ms, 1 - share + 1 / len(ms), where="pre", color=colour, label=name, linewidth=2)
    for axes in (whole, tail):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
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
