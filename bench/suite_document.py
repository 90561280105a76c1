"""The generated blocks of bench/README.md: which command makes what, and how long it took."""

from collections import Counter

from bench.readme import markdown
from bench.records import RESULTS
from bench.suite import Step, steps, took_s
from report.records import read
from report.sweeps import by_plan, points
from report.verdicts import verdicts

TITLES = ("table or figure", "command", "records", "last run", "took", "machine")
NOT_RUN = "not run yet"
MINUTE_S, HOUR_S = 60, 3600


def commands_table() -> str:
    """Every step of `python -m bench all`, from its records."""
    return markdown(TITLES, map(_cells, steps()))


def not_run() -> str:
    """The steps without records."""
    missing = [step.name for step in steps() if not step.found()]
    if not missing:
        return "All of these have records.\n"
    return f"No records yet of: {', '.join(missing)}.\n"


def what_wins() -> str:
    """Of every point of the sweeps: whether a code has the shortest tail, and by how much."""
    plans = by_plan(points(read([RESULTS])))
    if not plans:
        return "No sweep has been run yet.\n"
    titles = ("plan", "point", "finding", "figures")
    said = [(plan, one) for plan, found in plans.items() for one in verdicts(found)]
    count = Counter(one.pays for _, one in said)
    rows = ((plan, one.where, one.finding, one.details) for plan, one in said)
    return (
        f"Of {len(said)} points a code is ahead at {count[True]}, level at {count[None]}, and "
        f"behind at {count[False]}.\n\n{markdown(titles, rows)}"
    )


def _cells(step: Step) -> tuple[str, ...]:
    command = f"`python -m bench {step.command}`"
    found = step.found()
    if not found:
        return step.shown, command, "0", NOT_RUN, "–", "–"
    machines = list(dict.fromkeys(record["machine"] for record in found))
    last = max(found, key=lambda record: str(record["time"]))
    commit = last["commit"] + ("+" if last["dirty"] else "")
    day = f"{last['time'][:10]}, commit {commit}"
    return step.shown, command, str(len(found)), day, _length(took_s(found)), "; ".join(machines)


def _length(seconds: float) -> str:
    if seconds < 1:
        return "–"  # the records tell only when they were made
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / HOUR_S:.1f} h"
