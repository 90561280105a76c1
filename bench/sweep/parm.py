"""ParM's experiment: tail latency under background contention, beside equal resources uncoded.

J. Kosaian, K. V. Rashmi and S. Venkataraman, "Parity Models", SOSP 2019: the gap between p99.9 and
p50 shrank 2.6 to 3.5 times on 12 GPU instances and their parities, 100,000 queries a run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.sweep.command import append, carry_out, show
from bench.sweep.record import Latency, Record
from kofn.cli.output import Json, StoreFolder, paper, print_table

PLANS = ("parm-k2", "parm-k3", "parm-k4")
BASELINE = "uncoded"
PUBLISHED = {
    "gap_ratio": [2.6, 3.5],
    "source": "kosaian2019",
    "says": "p99.9 - p50, uncoded over ParM, equal resources",
}
TITLES = (
    "system", "gap ms", "x smaller", "by turns", "p50 ms", "p99", "p99.9 (95 %)", "queries",
    "load", "overall",
)  # fmt: skip


def parm(
    out: Annotated[Path, typer.Option(help="Folder of the records; one in it for each k.")] = Path(
        "out/parm"
    ),
    k: Annotated[str, typer.Option(help="Queries of a group, comma-separated: 2, 3, 4.")] = "2,3,4",
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Of load, for a system in a turn; default: 8.")
    ] = None,
    save: Annotated[bool, typer.Option(help="Append to bench/results/parm.jsonl, too.")] = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """ParM's experiment: how much smaller the tail gap is than with equal resources uncoded.

    Fixed service of 20 ms with contention that moves between workers; all systems in turns in one
    run for each k. 20 minutes; broken off, it goes on.
    """
    names = [f"parm-k{each}" for each in k.split(",")]
    if unknown := [name for name in names if name not in PLANS]:
        raise typer.BadParameter(f"2, 3 or 4, not {', '.join(unknown)}", param_hint="--k")
    command = f"python -m bench parm --k {k}"
    if seconds is not None:
        command += f" --seconds {seconds:g}"
    found: list[Record] = []
    for name in names:
        measured, records = carry_out(
            Path(name),
            out / name,
            None,
            seconds,
            store,
            {"table": "parm", "command": command, "published": PUBLISHED},
        )
        found += records
        if save:
            append("parm", measured)
    if as_json:
        for record in found:
            print(record.line())
        return
    for name in names:
        of_plan = [record for record in found if record.plan == name]
        show(of_plan[0].plan, of_plan)
        for point in dict.fromkeys(record.point for record in of_plan):
            at_point = [record for record in of_plan if record.point == point]
            print_table(f"{name}, {point}: the gap against {BASELINE}", TITLES, compared(at_point))
    paper.print(
        "Published, for ParM: 2.6 to 3.5 times smaller. The load is slots sent for a query; "
        '"x smaller" is of all turns together, since of one turn p99.9 is nearly the slowest query.'
    )
    if any(record.failure for record in found):
        raise typer.Exit(1)


def compared(records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Rows under `TITLES` for the systems of one point."""
    base = next(record for record in records if record.system == BASELINE)
    rows: list[tuple[Any, ...]] = []
    for record in records:
        seen = record.measured
        if seen is None or base.measured is None:
            rows.append((record.title, *["failed"] * (len(TITLES) - 1)))
            continue
        rows.append(
            (
                record.title,
                f"{seen.latency.tail_gap_ms:.1f}",
                f"{base.measured.latency.tail_gap_ms / seen.latency.tail_gap_ms:.2f}",
                ", ".join(f"{ratio:.2f}" for ratio in gap_ratios(base, record)),
                f"{seen.latency.p50_ms:.1f}",
                f"{seen.latency.p99_ms:.1f}",
                f"{seen.latency.p999_ms:.1f} ({interval(seen.latency)})",
                seen.queries,
                f"{seen.cost.measured_load_factor:.2f}",
                f"{seen.overall.value:.4f}",
            )
        )
    return rows


def interval(latency: Latency) -> str:
    """Of p99.9, ms; "?" is an end that so few requests do not have."""
    low, high = latency.p999_interval_ms
    return f"{low:.0f}–{'?' if high is None else f'{high:.0f}'}"


def gap_ratios(base: Record, record: Record) -> list[float]:
    """How many times smaller p99.9 - p50 is than the base's, turn by turn."""
    assert base.measured is not None
    assert record.measured is not None
    return [
        (one.p999_ms - one.p50_ms) / max(other.p999_ms - other.p50_ms, 1e-3)
        for one, other in zip(base.measured.turns, record.measured.turns, strict=True)
    ]
