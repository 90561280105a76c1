"""What a code's arithmetic takes: decoding with known responders, and what a new set of them costs.

Times the pure functions that the master calls, on one thread; no cluster.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

import codes
from bench.records import provenance
from codes.base import Code
from codes.contract_bits import noise
from codes.verify import subsets

TITLES = ("code", "classes", "groups", "decode, µs", "decode, new set, µs", "gain, new set, µs")
SETS = 40  # of responders
REPEATS = 20  # of each


@dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
        code: made with these parameters.
        classes: entries of an answer.
        groups: in a batch.
    """

    code: Code
    classes: int
    groups: int


def settings(classes: int, groups: int) -> list[Setting]:
    """The codes over a curve at K = 16, the most that is promised, and K = 4."""
    made = [
        codes.make("lagrange", k=16, n=35, degree=2),
        codes.make("split-lagrange", k=16, n=20, noise=0.01),
        codes.make("split-lagrange", k=4, n=6, noise=0.01),
        codes.make("berrut", k=16, n=20),
    ]
    return [Setting(code, classes, groups) for code in made]


def measure(setting: Setting) -> dict[str, Any]:
    """Medians, in seconds. Sets of responders are one slot short of all, or as few as suffice."""
    code = setting.code
    size = max(code.recovery_threshold, code.n - 2)
    sets = list(subsets(code.n, size, SETS))
    results = [noise(setting.groups, setting.classes, seed=slot) for slot in range(code.n)]

    def decode(one: Code, slots: Sequence[int]) -> None:
        one.decode([results[slot] for slot in slots], slots)

    decode(code, sets[0])  # torch's own first time
    gains = [_took(code.gain, slots) for slots in sets[1:]]
    fresh: Code = replace(code)  # type: ignore[type-var]  # codes are dataclasses
    decode(fresh, sets[0])  # its matrices, which do not depend on the responders
    first = [_took(decode, fresh, slots) for slots in sets[1:]]
    known = [_took(decode, code, sets[0]) for _ in range(SETS * REPEATS)]
    return {
        "table": "coding",
        "code": code.name,
        "k": code.k,
        "n": code.n,
        "classes": setting.classes,
        "groups": setting.groups,
        "responders": size,
        "decode_s": statistics.median(known),
        "decode_new_s": statistics.median(first),
        "gain_new_s": statistics.median(gains),
        "threads": torch.get_num_threads(),
        **provenance(),
    }


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A record as text, under `TITLES`."""
    times = (row["decode_s"], row["decode_new_s"], row["gain_new_s"])
    shown = [f"{1e6 * seconds:.0f}" for seconds in times]
    code = f"{row['code']}, k = {row['k']}, {row['responders']} of {row['n']}"
    return (code, str(row["classes"]), str(row["groups"]), *shown)


def _took(do: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    do(*arguments)
    return time.perf_counter() - began
