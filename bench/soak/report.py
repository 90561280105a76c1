"""What a soak comes to: its record, a table, and a figure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench.plots import COLOURS
from bench.soak.chaos import Event
from bench.soak.ledger import Tally
from bench.soak.run import Soaked
from bench.soak.verdict import Sample

POINTS = 60  # of each curve of a record
TITLES = (
    "system", "requests", "answered", "declared", "cancelled", "refused", "direct rows",
    "decoded rows", "missing rows", "unjudged rows", "error", "stated",
)  # fmt: skip


def record(soaked: Soaked) -> dict[str, Any]:
    """One line of bench/results/soak.jsonl, but for provenance."""
    ledger = soaked.ledger
    return {
        "table": "soak",
        **asdict(soaked.settings),
        "systems": {name: _tally(tally) for name, tally in ledger.tallies.items()},
        "errors": dict(ledger.failures),
        "violations": [asdict(violation) for violation in soaked.violations],
        "happened": dict(Counter(e.trouble.kind for e in soaked.events if e.outcome == "done")),
        "events": [_event(event) for event in soaked.events],
        "latency": _latency(ledger.latencies, soaked.settings.seconds),
        "memory": {name: _thin(samples) for name, samples in soaked.series.items()},
        "levels": soaked.levels,
    }


def cells(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of a record's table, under TITLES."""
    rows = []
    for name, told in found["systems"].items():
        counts = [str(told[key]) for key in _COUNTS]
        errors = [
            "–" if told[key] is None else f"{told[key]:.3f}" for key in ("error", "stated_error")
        ]
        rows.append((name, *counts, *errors))
    return rows


def words(found: Mapping[str, Any]) -> list[str]:
    """What a record says beside its table, a line each."""
    kinds = Counter(violation["kind"] for violation in found["violations"])
    latency = np.array([(p50, p99) for _, p50, p99, _ in found["latency"]] or [(np.nan, np.nan)])
    grown = {name: after / before - 1 for name, (before, after) in found["levels"].items()}
    lines = [
        "; ".join(f"{kind} {count}" for kind, count in sorted(found["happened"].items())),
        f"p50 {np.nanmedian(latency[:, 0]):.0f} ms, worst p99 {np.nanmax(latency[:, 1]):.0f} ms "
        f"of a sixtieth of the run",
    ]
    if grown:
        name = max(grown, key=lambda one: grown[one])
        before, after = found["levels"][name]
        lines.append(
            f"largest growth of memory: {name.partition('/')[0]}, {before:.0f} to {after:.0f} MiB, "
            f"{100 * grown[name]:+.1f} %"
        )
    told = ", ".join(f"{kinds[kind]} {kind}" for kind in ("lost", "duplicated", "wrong"))
    others = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if kind not in told)
    return [*lines, told + (f"; {others}" if others else "")]


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Memory, latency and troubles over time, as PNG."""
    figure = Figure(figsize=(11, 9), layout="constrained", dpi=130)
    memory, latency, troubles = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": (3, 3, 3)}
    )
    services = sorted({name.partition("/")[0] for name in found["memory"]})
    for name, points in found["memory"].items():
        is_master = name.startswith("master")
        memory.plot(
            *zip(*points, strict=True),
            color=COLOURS[0] if is_master else COLOURS[1],
            linewidth=2 if is_master else 0.8,
        )
    memory.set_ylabel("resident memory, MiB")
    memory.set_ylim(bottom=0)
    memory.legend(
        handles=[
            memory.plot([], color=COLOURS[0], label="master")[0],
            memory.plot([], color=COLOURS[1], label="workers")[0],
        ],
        frameon=False,
    )
    bins = np.array(found["latency"] or [(0, np.nan, np.nan, 0)], float)
    for colour, (place, label) in zip(COLOURS, ((1, "p50"), (2, "p99")), strict=False):
        latency.plot(bins[:, 0], bins[:, place], color=colour, label=label)
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    latency.set_ylabel("latency of answers, ms")
    latency.legend(frameon=False)
    names = [name for name in services if name != "master"]
    kinds = sorted({event["kind"] for event in found["events"]})
    for event in found["events"]:
        if event["outcome"] == "done":
            troubles.barh(
                names.index(event["worker"]),
                max(event["seconds"], found["seconds"] / 300),
                left=event["at_s"],
                color=COLOURS[kinds.index(event["kind"]) % len(COLOURS)],
                hatch="///" if kinds.index(event["kind"]) >= len(COLOURS) else None,
                height=0.7,
            )
    for place, kind in enumerate(kinds):
        hatch = "///" if place >= len(COLOURS) else None
        troubles.barh(0, 0, color=COLOURS[place % len(COLOURS)], hatch=hatch, label=kind)
    troubles.set_yticks(range(len(names)), names)
    troubles.set_xlabel("s")
    for axes in (memory, latency, troubles):
        axes.grid(visible=True, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*troubles.get_legend_handles_labels(), loc="outside lower center", ncols=6,
                  frameon=False)  # fmt: skip
    figure.savefig(path)


_COUNTS = (
    "asked", "answered", "declared", "cancelled", "refused", "direct_rows", "decoded_rows",
    "missing_rows", "unjudged_rows",
)  # fmt: skip


def _tally(tally: Tally) -> dict[str, Any]:
    counts = {key: getattr(tally, key) for key in _COUNTS}
    error = stated = None
    if tally.estimates:
        errors, states, rows = np.array(tally.estimates).T
        error, stated = (float(np.average(v, weights=rows)) for v in (errors, states))
    return {**counts, "error": error, "stated_error": stated}


def _event(event: Event) -> dict[str, Any]:
    began, ended = event.began_s, event.ended_s
    return {
        "at_s": round(event.trouble.at_s if began is None else began, 1),
        "kind": event.trouble.kind,
        "worker": event.trouble.worker,
        "seconds": 0.0 if began is None or ended is None else round(ended - began, 1),
        "outcome": event.outcome,
    }


def _latency(
    seen: Sequence[tuple[float, float]], seconds: float
) -> list[tuple[float, float, float, int]]:
    """(middle of a sixtieth of the run, p50 ms, p99 ms, answers) of each that has answers."""
    found = []
    width = seconds / POINTS
    times, took = np.array(seen, float).reshape(-1, 2).T
    for start in np.arange(POINTS) * width:
        here = took[(times >= start) & (times < start + width)]
        if len(here):
            p50, p99 = (round(1e3 * float(q), 1) for q in np.quantile(here, (0.5, 0.99)))
            found.append((round(start + width / 2, 1), p50, p99, len(here)))
    return found


def _thin(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """At most POINTS of (seconds, MiB), each a median over as many samples."""
    parts = np.array_split([(s.at_s, s.rss_mib) for s in samples], min(POINTS, len(samples)))
    medians = (np.median(part, axis=0).round(1) for part in parts)
    return [(float(at), float(mib)) for at, mib in medians]
