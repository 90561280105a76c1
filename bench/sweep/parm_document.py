"""ParM's experiment for the documents: its newest live records, and its plans in virtual time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench import records
from bench.readme import markdown
from bench.sweep.parm import BASELINE, PLANS, interval
from bench.sweep.record import Record, read

TITLES = (
    "plan", "queries/s", "system", "p50, ms", "p99", "p99.9", "gap", "times smaller",
    "slots a query",
)  # fmt: skip


def live() -> str:
    """A table of each plan's newest run on every machine, with the interval of p99.9."""
    found = list(read(records.RESULTS / "parm.jsonl"))
    newest = {(record.machine, record.plan): record.run for record in found}
    parts = []
    for machine in dict.fromkeys(machine for machine, _ in newest):
        shown = [r for r in found if r.machine == machine and r.run == newest[machine, r.plan]]
        last = shown[-1]
        parts.append(
            markdown(TITLES, _live_rows(shown))
            + f"\n`{last.command} --save`, {_counted(shown)} queries each; the last on "
            f"{last.run[:10]}, commit {last.commit}, {machine}.\n"
        )
    return "\n".join(parts)


def simulated() -> str:
    """The same in virtual time."""
    found: list[Mapping[str, Any]] = []
    for plan in PLANS:
        found += records.newest(f"{plan}-simulated")
    if not found:
        return "Not simulated yet: `python -m bench sweep parm-k2 --simulated 100000 --save`.\n"
    last = found[-1]
    return markdown(TITLES, _simulated_rows(found)) + (
        f"\n`{last['command']} --save`, and so on, commit {last['commit']}, {last['run'][:10]}.\n"
    )


def _live_rows(found: Sequence[Record]) -> Iterator[tuple[object, ...]]:
    gaps_ms = {
        (record.plan, record.point): record.measured.latency.tail_gap_ms
        for record in found
        if record.system == BASELINE and record.measured
    }
    for record in found:
        seen = record.measured
        if seen is None:
            continue
        latency = seen.latency
        yield (
            record.plan, f"{record.offered_qps:g}", record.title, f"{latency.p50_ms:.0f}",
            f"{latency.p99_ms:.0f}",
            f"{latency.p999_ms:.0f} ({interval(latency)})",
            f"{latency.tail_gap_ms:.0f}",
            f"{gaps_ms[record.plan, record.point] / latency.tail_gap_ms:.1f}",
            f"{seen.cost.measured_load_factor:.2f}",
        )  # fmt: skip


def _simulated_rows(found: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    gaps_ms = {
        (record["plan"], record["point"]): record["gap_ms"]
        for record in found
        if record["system"] == BASELINE
    }
    for record in found:
        yield (
            record["plan"], record["point"].rpartition("=")[2], record["title"],
            *(f"{record[name]:.0f}" for name in ("p50_ms", "p99_ms", "p999_ms", "gap_ms")),
            f"{gaps_ms[record['plan'], record['point']] / record['gap_ms']:.1f}",
            f"{record['sent']:.2f}",
        )  # fmt: skip


def _counted(found: Iterable[Record]) -> str:
    counts = sorted(record.measured.queries for record in found if record.measured)
    return f"{counts[0]:,} to {counts[-1]:,}"
