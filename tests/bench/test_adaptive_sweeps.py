"""The table of adaptive redundancy beside static policies, from records of sweeps."""

from bench.adaptive_sweeps import TITLES, rows, simulated_rows
from report.records import Record
from report.sweeps import points
from support.sweeps import SYSTEMS, sweep_record


def told(like: str, *others: str) -> list[dict[str, str]]:
    """Rows where adaptive redundancy does as well as a system does that the records know."""
    own = sweep_record(like) | {"system": "adaptive", "title": "parity, adaptive"}
    found = points([own, *(sweep_record(title) for title in others)])
    names = [f"{title} {place}" for place, title in enumerate(TITLES)]
    return [dict(zip(names, row, strict=True)) for row in rows(found)]


def test_the_best_static_policy_is_told_and_the_best_at_no_more_load() -> None:
    (row,) = told("hedged", *SYSTEMS)
    assert row["best static, ms 6"].startswith("backup: ")
    assert row["best at no more load, ms 10"].startswith("hedged: ")
    assert row["adaptive is 9"].endswith(", worse")
    assert (row["load 5"], row["load 8"]) == ("1.07", "1.25")


def test_what_is_as_good_is_not_called_worse() -> None:
    (row,) = told("backup", "backup", "uncoded")
    assert "worse" not in row["adaptive is 9"]


def test_a_quick_system_that_answers_wrongly_is_no_rival_and_alone_there_is_none() -> None:
    (row,) = told("hedged", "split-lagrange R=4", "hedged")
    assert row["best static, ms 6"].startswith("hedged: ")
    assert told("hedged") == told("hedged", "uncoded") == []
    assert list(rows(points([sweep_record("hedged")]))) == []


def simulated(system: str, p90_ms: float | None, run: str = "b", plan: str = "load") -> Record:
    """A system at a point in virtual time; its farther tails are longer than 100 ms."""
    tails = {"p50_ms": 10.0, "p90_ms": p90_ms, "p95_ms": 100.0, "p99_ms": None}
    about = {"plan": plan, "run": run, "point": "at 40", "system": system, "title": system.upper()}
    return {**about, **tails, "sent": 1.25, "baseline": system in ("uncoded", "hedged")}


def test_in_virtual_time_the_best_baseline_of_the_newest_run_is_told() -> None:
    """Not another code, not one that leaves so many unanswered, not an older run."""
    found = [
        simulated("hedged", 1.0, run="a"), simulated("adaptive", 50.0), simulated("uncoded", 40.0),
        simulated("hedged", None), simulated("parity", 5.0),
        simulated("adaptive", 41.0, plan="losses"), simulated("uncoded", 40.0, plan="losses"),
    ]  # fmt: skip
    load, losses = simulated_rows(found)
    assert load[:7] == ("load", "at 40", "10", "50", "100", "–", "1.25")
    assert load[7:] == ("UNCODED: 40 (+25 %, worse)", "UNCODED: 100 (+0 %)", "–")
    assert losses[7] == "UNCODED: 40 (+2 %)"
    own = simulated("adaptive", 50.0) | {"baseline": True}  # it needs no code: not static for that
    (alone,) = simulated_rows([own, simulated("hedged", None)])
    assert alone[7] == "none answers"
