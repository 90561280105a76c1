"""Figures of chaos runs: latency, troubles and memory over time, from the records of soaks."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from report.records import Record, provenance
from report.theme import Drawing, Theme, axes_style, log_scale

HATCHES = ("", "////", "....")
SHORTEST = 1 / 250  # of the run: what is shorter could not be seen


def of_soaks(found: Iterable[Record]) -> Iterator[Drawing]:
    """One figure a run."""
    runs = [record for record in found if record["table"] == "soak"]
    for number, run in enumerate(runs, 1):
        home = "processes" if run["backend"] == "local" else "containers"
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(run["happened"].items()))
        wrong = len(run["violations"])
        told = f"{wrong} things were wrong in it" if wrong else "nothing was wrong in it"
        yield Drawing(
            f"timeline-soak-{number}",
            f"A chaos run: {_length(run['seconds'])}, {run['workers']} workers in {home}",
            f"Above, latency of answers in sixtieths of the run; in the middle, what was done to "
            f"which worker ({kinds}); below, resident memory, the master's drawn bold. By its own "
            f"judgement {told}.",
            "measured here",
            partial(_draw, run),
            (9.6, 7.2),
            provenance([run]),
        )


def _length(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} s"


def _draw(run: Mapping[str, Any], figure: Figure, theme: Theme) -> None:
    latency, troubles, memory = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 3.4, 2)}
    )
    at = [point[0] for point in run["latency"]]
    for place, name in ((1, "p50"), (2, "p99")):
        latency.plot(
            at, [point[place] for point in run["latency"]], label=name,
            color=theme.series[place % 2], linewidth=1.8,
        )  # fmt: skip
    log_scale(latency, "y")
    latency.set_ylabel("latency, ms")
    latency.legend(loc="upper right", ncols=2)
    _draw_troubles(run, troubles, theme)
    for name, points in run["memory"].items():
        is_master = name.startswith("master")
        memory.plot(
            *zip(*points, strict=True),
            color=theme.series[0] if is_master else theme.muted,
            linewidth=1.8 if is_master else 0.7,
        )
    memory.set_ylim(bottom=0)
    memory.set_ylabel("memory, MiB")
    memory.set_xlabel("seconds from the start")
    for axes in (latency, troubles, memory):
        axes_style(axes)


def _draw_troubles(run: Mapping[str, Any], axes: Any, theme: Theme) -> None:
    names = sorted(
        {event["worker"] for event in run["events"]},
        key=lambda name: (len(name), name),
        reverse=True,
    )
    kinds = sorted({event["kind"] for event in run["events"] if event["outcome"] == "done"})

    def look(kind: str) -> dict[str, Any]:
        place = kinds.index(kind)
        hatch = HATCHES[place // len(theme.series) % len(HATCHES)]
        return {"facecolor": theme.series[place % len(theme.series)], "hatch": hatch or None,
                "edgecolor": theme.paper, "linewidth": 0.3}  # fmt: skip

    for event in run["events"]:
        if event["outcome"] == "done":
            axes.barh(
                names.index(event["worker"]),
                max(event["seconds"], SHORTEST * run["seconds"]),
                left=event["at_s"],
                height=0.72,
                **look(event["kind"]),
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, run["seconds"])
    axes.figure.legend(
        handles=[Patch(label=kind, **look(kind)) for kind in kinds],
        loc="outside lower center",
        ncols=min(6, max(1, len(kinds))),
    )
