"""What the table's file aims at, beside what its records say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.lagrange.plan import Target
from bench.table import Record

TITLES = ("target", "must", "good", "measured", "reached")


@dataclass(frozen=True)
class Outcome:
    """A target as it was met: what was measured, in words, and whether it is enough."""

    measured: str
    must: bool
    good: bool


def cells(targets: Sequence[Target], found: Sequence[Record]) -> list[tuple[str, ...]]:
    """A line a target, under `TITLES`.

    Args:
        found: the newest records of the table.
    """
    lines = []
    for target in targets:
        outcome = RULES[target.rule](target, [one for one in found if _is_about(one, target)])
        aims = [_aim(target, values) for values in (target.must, target.good)]
        if outcome is None:
            lines.append((target.says, *aims, "not measured yet", "–"))
        else:
            reached = "good" if outcome.good else "must" if outcome.must else "no"
            lines.append((target.says, *aims, outcome.measured, reached))
    return lines


def _is_about(record: Record, target: Target) -> bool:
    if (record["lost"] is None) != (target.rule == "stop"):
        return False
    wanted = {key: getattr(target, key) for key in ("model", "k", "n", "answers")}
    return all(value is None or record[key] == value for key, value in wanted.items())


def _cell(target: Target, found: Sequence[Record]) -> Outcome | None:
    return _at_least(target, [found[0]["overall"], found[0]["worst"]]) if found else None


def _stop(target: Target, found: Sequence[Record]) -> Outcome | None:
    if not found:
        return None
    stop = found[0]["stop"]
    outcome = _at_least(target, [stop["overall"], stop["worst"]])
    return Outcome(
        f"{outcome.measured} with {stop['answers']:.2f} answers", outcome.must, outcome.good
    )


def _loss(target: Target, found: Sequence[Record]) -> Outcome | None:
    below = [one["base_accuracy"] - one["clean"] for one in found if not one["lost"]]
    if not below:
        return None
    most = max(below)
    return Outcome(f"{100 * most:.2f} points", most <= target.must[0], most <= target.good[0])


def _above(target: Target, found: Sequence[Record]) -> Outcome | None:
    if not found:
        return None
    over = {
        name: found[0]["overall"] - found[0]["baselines"][name]["overall"]
        for name in ("replication", "backup")
        if name in found[0]["baselines"]
    }
    text = ", ".join(f"{100 * points:+.1f} points to {name}" for name, points in over.items())
    is_above = over["replication"] > 0
    return Outcome(text, is_above, is_above and over.get("backup", -1) > 0)


def _replication(target: Target, found: Sequence[Record]) -> Outcome | None:
    lossy = [one for one in found if one["lost"]]
    few = [one for one in lossy if one["n"] < 2 * one["k"]]
    many = [one for one in lossy if one["n"] == 2 * one["k"] and one["lost"] > 1]
    if not few:
        return None
    below = [
        one for one in few + many if one["overall"] <= one["baselines"]["replication"]["overall"]
    ]
    words = [
        f"{one['row']} with {one['answers']} "
        f"({100 * (one['overall'] - one['baselines']['replication']['overall']):+.1f})"
        for one in below
    ]
    text = f"{len(few + many) - len(below)} of {len(few + many)} cells"
    return Outcome(
        f"{text}; not {', '.join(words)}" if words else text,
        not any(one in few for one in below),
        not below,
    )


def _costs(target: Target, found: Sequence[Record]) -> Outcome | None:
    if not found:
        return None
    most = [max(one["costs"][name] for one in found) for name in ("stem", "worker", "payload")]
    is_good = all(value <= limit for value, limit in zip(most, target.good, strict=True))
    return Outcome(" / ".join(f"{value:.2f}" for value in most), must=True, good=is_good)


def _at_least(target: Target, values: Sequence[float]) -> Outcome:
    must, good = (
        all(value >= least for value, least in zip(values, wanted, strict=False))
        for wanted in (target.must, target.good)
    )
    return Outcome(_percent(values[: len(target.must)]), must, must and good and bool(target.good))


def _aim(target: Target, values: Sequence[float]) -> str:
    if not values:
        return "–"
    if target.rule == "costs":
        return " / ".join(f"{value:g}" for value in values)
    if target.rule == "loss":
        return f"{100 * values[0]:g} points"
    return _percent(values)


def _percent(values: Sequence[float]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in values)


RULES: dict[str, Callable[[Target, Sequence[Record]], Outcome | None]] = {
    "cell": _cell,
    "stop": _stop,
    "loss": _loss,
    "above": _above,
    "replication": _replication,
    "costs": _costs,
}
