"""What can be judged at the end of a soak only: stated errors, counters, growth. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from bench.soak.ledger import Tally, Violation

# Stated errors are expectations over the queries that the code was calibrated with, and the
# held-out digits are others.
SLACK = 0.25
SIGMAS = 4.0

LONG_S = 600.0  # a run of at least so long is judged by the bar:
SETTLED_S = 300.0  # after the first five minutes
GROWTH = 0.05  # memory grows by less than this share
SHORT_SETTLED = 1 / 3  # of a shorter run; then allocators still fill their pools:
SHORT_GROWTH_MIB = 16.0
THERE_S = 5.0  # sampled so early, a process was there from the start
WINDOW_S = 60.0  # medians over so long, at most a sixth of the run
MORE_TASKS, MORE_FILES = (
    4,
    8,
)  # idle after against idle before: connections that are just re-dialled


@dataclass(frozen=True)
class Sample:
    """A process at a moment.

    Attributes:
        at_s: of the run.
        rss_mib: resident memory.
        files: open file descriptors; None where this user may not know.
        tasks: of its event loop; None where it does not tell.
    """

    at_s: float
    rss_mib: float
    files: int | None
    tasks: int | None = None


Series = Mapping[str, Sequence[Sample]]  # by "name/pid": a process that was restarted is another


def estimates(tallies: Mapping[str, Tally]) -> list[Violation]:
    """Approximate codes whose error is above what they stated: (1 + SLACK) times the mean stated
    error and SIGMAS standard errors of the difference, answers taken as independent."""
    found = []
    for name, tally in tallies.items():
        if len(tally.estimates) < 2:
            continue
        error, stated, rows = np.array(tally.estimates).T
        excess = error - (1 + SLACK) * stated
        mean = float(np.average(excess, weights=rows))
        spread = float(sqrt(np.sum((rows * (excess - mean)) ** 2)) / rows.sum())
        if mean > SIGMAS * spread:
            found.append(
                Violation(
                    "wrong",
                    f"{name}: decoded rows are off by {np.average(error, weights=rows):.3f} of the "
                    f"variance on average and state {np.average(stated, weights=rows):.3f}",
                )
            )
    return found


def counters(
    tallies: Mapping[str, Tally], master: Mapping[str, tuple[int, int]]
) -> list[Violation]:
    """Rows that the master says it answered, against those that clients got.

    Args:
        tallies: of clients.
        master: by system, (answered rows, of these decoded), since the run began.
    """
    found = []
    for name, tally in tallies.items():
        got, (told, decoded) = tally.direct_rows + tally.decoded_rows, master[name]
        if not got <= told <= got + tally.unknown_rows:
            found.append(
                Violation(
                    "counters",
                    f"{name}: clients got {got} rows, {tally.unknown_rows} more may have been "
                    f"answered, and the master says {told}",
                )
            )
        if decoded < tally.decoded_rows:
            found.append(
                Violation(
                    "counters",
                    f"{name}: clients got {tally.decoded_rows} decoded rows, the master says "
                    f"{decoded}",
                )
            )
    return found


def memory(
    series: Series, seconds: float
) -> tuple[list[Violation], dict[str, tuple[float, float]]]:
    """Processes that grew, and of each that lived long enough (MiB settled, MiB at the end).

    A process that was started again within a long run has its own time to settle; in a short one
    it is not judged.
    """
    is_long = seconds >= LONG_S
    settled_s = SETTLED_S if is_long else SHORT_SETTLED * seconds
    window_s = min(WINDOW_S, seconds / 6)
    found, levels = [], {}
    for name, samples in series.items():
        born_s = samples[0].at_s
        from_s = born_s + settled_s
        if not is_long and born_s > THERE_S:
            continue
        if from_s + 2 * window_s > seconds or samples[-1].at_s < seconds - window_s:
            continue
        first = [s.rss_mib for s in samples if from_s <= s.at_s < from_s + window_s]
        last = [s.rss_mib for s in samples if seconds - window_s <= s.at_s]
        before, after = float(np.median(first)), float(np.median(last))
        levels[name] = before, after
        grew = after / before - 1
        if grew >= GROWTH if is_long else after - before >= SHORT_GROWTH_MIB:
            found.append(
                Violation(
                    "memory",
                    f"{name}: {before:.0f} MiB after {settled_s:.0f} s, {after:.0f} MiB at the end "
                    f"({100 * grew:+.1f} %)",
                )
            )
    return found, levels


def leaks(before: Mapping[str, Sample], after: Mapping[str, Sample]) -> list[Violation]:
    """Tasks and files that an idle process has after the load beyond those before it.

    Args:
        before, after: by "name/pid"; processes that were restarted between are not compared.
    """
    found = []
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if old.files is not None and new.files is not None and new.files > old.files + MORE_FILES:
            found.append(Violation("files", f"{name}: {old.files} open files, then {new.files}"))
        if old.tasks is not None and new.tasks is not None and new.tasks > old.tasks + MORE_TASKS:
            found.append(Violation("tasks", f"{name}: {old.tasks} tasks, then {new.tasks}"))
    return found
