"""The table of trained codes, from its records: rows beside published figures and the backup.

Reads records and counts; trains nothing (`bench.trainings`). Which of two codes is better is asked
query by query: both answered the same test images, so what they have in common cancels.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from models.cards import NORMAL_95

TITLES = (
    "row", "decoder", "lost", "clean", "lost-only (95 %)", "gap", "published gap",
    "above the backup (95 %)", "overall", "uncoded", "replicated", "cost", "s",
)  # fmt: skip
Record = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """Of two accuracies on the same queries, in points: positive where the first is better."""

    points: float
    interval: tuple[float, float]


def newest(found: Iterable[Record]) -> list[Record]:
    """The last record of each row, decoder and number of lost slots, in the order of the first."""
    last: dict[tuple[object, ...], Record] = {}
    for record in found:
        if "error" not in record:
            last[record["row"], record["decoder"], record["lost"]] = record
    return list(last.values())


def best_decoders(found: Iterable[Record]) -> list[Record]:
    """Of each row and number of lost slots, the decoder that was better on the validation split."""
    best: dict[tuple[object, ...], Record] = {}
    for record in found:
        key = record["row"], record["lost"]
        if key not in best or record["validation"] > best[key]["validation"]:
            best[key] = record
    return list(best.values())


def difference(one: str, other: str) -> Difference:
    """Compare two records' `right`, bit by bit.

    The interval is the normal one for paired proportions: only queries that one of the two gets
    right and the other wrong count.
    """
    first, second = _bits(one), _bits(other)
    count = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    mean = (only_first - only_second) / count
    deviation = sqrt(max((only_first + only_second) / count - mean**2, 0.0) / count)
    low, high = mean - NORMAL_95 * deviation, mean + NORMAL_95 * deviation
    return Difference(100 * mean, (100 * low, 100 * high))


def cells(found: Sequence[Record]) -> list[tuple[str, ...]]:
    """The table's rows as text, under `TITLES`."""
    # With one slot lost a student's answers are the same, however many slots run it.
    backups = {
        (record["model"], record["k"]): record["right"]
        for record in found
        if record["code"] == "backup" and record["lost"] == 1 and record["decoder"] == "plain"
        and not record["spec"]["parameters"].get("distinct")
    }  # fmt: skip
    return [_cells(record, backups) for record in best_decoders(found)]


def _cells(record: Record, backups: dict[tuple[str, int], str]) -> tuple[str, ...]:
    low, high = record["interval"]
    backup = backups.get((record["model"], record["k"]))
    above = "–"
    if backup and record["right"] and record["right"] != backup:
        compared = difference(record["right"], backup)
        above = (
            f"{compared.points:+.2f} ({compared.interval[0]:+.2f} to {compared.interval[1]:+.2f})"
        )
    published = "; ".join(f"{figure['gap']:g}" for figure in record["published"])
    return (
        record["row"],
        record["decoder"],
        str(record["lost"]),
        f"{record['clean']:.4f}",
        f"{record['lost_only']:.4f} ({low:.3f}–{high:.3f})",
        f"{100 * (record['clean'] - record['lost_only']):.2f}",
        published or "–",
        above,
        f"{record['overall']:.3f}",
        f"{record['baselines']['uncoded']:.3f}",
        f"{record['baselines']['replication']:.3f}",
        f"{record['cost']:.2f}",
        f"{record['seconds']:.0f}",
    )


def _bits(packed: str) -> npt.NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8)).astype(np.bool_)
