"""What the flags of `kofn simulate` say of workers, laws and arrivals."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kofn.cli.output import parameters, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator import Contention, Poisson, Times, Workers
    from worker.faults import Faults
    from worker.laws import Law

ANY = "any"
LEVELS = 100_000  # of a law's quantiles, for its mean
USUAL_RATE = 100.0  # requests a second where no worker is ever busy: only groups fill by it


@contextmanager
def bar(counted: str) -> "Iterator[Callable[[int, int], None]]":
    """A progress bar with the time left, and what tells it: how many are done, and of how many."""
    from rich import progress as rich

    columns = (
        rich.TextColumn("simulating"),
        rich.BarColumn(),
        rich.TextColumn(f"{{task.completed:.0f}} of {{task.total:.0f}} {counted}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=words, transient=True) as shown:
        task = shown.add_task("simulating", total=1)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def count_of(text: str, flag: str) -> int | None:
    """A number of at least 1; None for "any"."""
    if text == ANY:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"must be 1 or more, or any, not {text!r}.", param_hint=flag)
    return int(text)


def law_of(text: str, flag: str) -> "Law":
    """A law of a duration, or of JSON as a fault's delay."""
    from master.policy import Delay
    from worker.laws import Bursts, Constant

    if not text.lstrip().startswith("{"):
        try:
            fixed_s = Delay.parse(text).fixed_s
        except ValueError:
            fixed_s = None
        if fixed_s is None:
            raise typer.BadParameter(
                f"must be a duration (20ms, 0.02s) or JSON as a fault's delay, not {text!r}.",
                param_hint=flag,
            )
        return Constant(fixed_s)
    delay = _parsed_faults(f'{{"delay": {text}}}', flag).delay
    assert delay is not None  # it was given
    if isinstance(delay.law, Bursts) or (delay.probability, delay.interruptible) != (1.0, False):
        raise typer.BadParameter(
            "must be a law of every task: bursts, probability and interruptible go with "
            "--straggler.",
            param_hint=flag,
        )
    return delay.law


def work_of(given: list[str] | None) -> dict[str, float]:
    """Factors by role, of ROLE=FACTOR texts."""
    found = parameters(given, "--work")
    for role, factor in found.items():
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise typer.BadParameter(
                f"must be ROLE=FACTOR with a number, not {role}={factor}.", param_hint="--work"
            )
    return found


def faults_of(straggler: str | None, faults: str | None) -> "Faults":
    from worker.faults import Faults

    if straggler is not None and faults is not None:
        raise typer.BadParameter("goes without --faults.", param_hint="--straggler")
    if straggler is not None:
        return _parsed_faults(f'{{"delay": {straggler}}}', "--straggler")
    return Faults() if faults is None else _parsed_faults(faults, "--faults")


def _parsed_faults(text: str, flag: str) -> "Faults":
    from kofn.settings import SettingsError
    from worker.faults_text import parse_faults

    try:
        return parse_faults(text).inlined(Path()).laws()
    except SettingsError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from error


def fleet_of(
    workers: str, service: str, faults: "Faults", straggling: int | None, max_rows: int
) -> "tuple[Workers, ...]":
    from simulator import Workers

    count, law = count_of(workers, "--workers"), law_of(service, "--service")
    if straggling is None or straggling == count:
        return (Workers(count, law, faults, max_rows=max_rows),)
    if count is None or straggling > count:
        raise typer.BadParameter(
            f"must be at most --workers {workers}, a number, not {straggling}.",
            param_hint="--straggling",
        )
    healthy = Workers(count - straggling, law, max_rows=max_rows)
    return healthy, Workers(straggling, law, faults, max_rows=max_rows)


def moving_over(
    fleet: "tuple[Workers, ...]", every: str
) -> "tuple[tuple[Workers, ...], Contention]":
    """Workers that are all alike, with contention in place of stragglers among them.

    Args:
        fleet: some healthy, some stragglers.
        every: a duration after which others are in trouble.
    """
    from dataclasses import replace

    from simulator import Contention
    from worker.laws import Constant

    flag = "--moving"
    healthy, straggling = fleet[0], fleet[-1]
    delay = straggling.faults.delay
    if healthy is straggling or delay is None or straggling.faults.failure is not None:
        raise typer.BadParameter(
            "needs --straggler, a delay, and fewer --straggling than there are --workers.",
            param_hint=flag,
        )
    law = law_of(every, flag)
    if not isinstance(law, Constant) or not law.value_s:
        raise typer.BadParameter(f"must be a duration above 0, not {every!r}.", param_hint=flag)
    troubled = straggling.count or 0
    alike = replace(healthy, count=(healthy.count or 0) + troubled)
    return (alike,), Contention(troubled, law.value_s, delay)


def arrivals_of(
    rate: float | None,
    load: float | None,
    trace: Path | None,
    fleet: "tuple[Workers, ...]",
    rows: int,
) -> "Poisson | Times":
    from bench.load.arrivals import read_trace
    from kofn.settings import SettingsError
    from simulator import Poisson, Times

    given = [flag for flag, value in (("--rate", rate), ("--load", load), ("--trace", trace))
             if value is not None]  # fmt: skip
    if len(given) > 1:
        raise typer.BadParameter(f"goes without {given[0]}.", param_hint=given[1])
    if trace is not None:
        try:
            return Times(tuple(read_trace(trace).tolist()))
        except OSError as error:
            raise SettingsError(f"{trace}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # which names the file and its line
            raise SettingsError(str(error)) from error
    if rate is not None:
        return Poisson(rate)
    if any(kind.count is None for kind in fleet):
        if load is not None:
            raise typer.BadParameter("needs a number of --workers.", param_hint="--load")
        return Poisson(USUAL_RATE)
    busy = sum((kind.count or 0) / _mean_s(kind) for kind in fleet)
    return Poisson((0.5 if load is None else load) * busy / rows)


def _mean_s(kind: "Workers") -> float:
    """Of a task, its injected delay included."""
    import numpy as np

    from simulator.draws import quantiles_s
    from worker.laws import Bursts

    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    mean_s = float(quantiles_s(kind.service, levels).mean())
    delay = kind.faults.delay
    if delay is not None:
        law = delay.law
        if isinstance(law, Bursts):
            length_s = law.slow_share * law.slow_s + (1 - law.slow_share) * law.fast_s
        else:
            length_s = float(quantiles_s(law, levels).mean())
        mean_s += delay.probability * length_s
    if not mean_s > 0.0:
        raise typer.BadParameter("needs tasks that take some time.", param_hint="--load")
    return mean_s
