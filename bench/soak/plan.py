"""What will happen in a soak, drawn up front from its seed: calls of clients, and troubles.

Pure. How long something really takes is found out by `load` and `chaos`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.soak.systems import System

PATIENT_S = 10.0  # a request with so much time must be answered whole, whatever happens
CLIENTS = ("aio-0", "aio-1", "sync-0", "sync-1")
RATE = 12.0  # calls a second, Poisson; with bursts and streams some 25 requests a second
BURST_EVERY_S, BURST_CALLS = 8.0, 16
MOST_ROWS, MOST_BATCHES = 48, 12
MALFORMED = ("shape", "model", "parameter", "wait", "not finite", "no rows")

OUT = 2  # workers in trouble at once, at most, beside one that lies or is quarantined for it
CALM_S = 4.0  # without trouble at both ends of a run, a tenth of it at most
GAP_S = 2.5  # between troubles, on average
INJECTED = 0.5  # share of troubles that workers inject into themselves
LIE_EVERY_S, LIE_S = 60.0, 6.0
QUARANTINE_S = 32.0  # a liar that was found out gets no work for so long
LIE_GUARD_S = 1.0  # codes that do not bear liars are asked nothing from so long before a lie
AFTER_LIE_S = 1.0  # ... until so long after it
WATCHED = 2  # the first workers are never killed: their memory is watched all the time


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        number: its id, from 0.
        system: whose answer is wanted.
        rows: which images.
        timeout_s: how long it may take, from when it is sent.
        allow_partial: rows that are not there in time may be missing.
        cancel_s: the client gives it up after so long; None: it does not.
        malformed: what is wrong with it, of MALFORMED; "" when nothing is.
    """

    number: int
    system: str
    rows: tuple[int, ...]
    timeout_s: float
    allow_partial: bool = False
    cancel_s: float | None = None
    malformed: str = ""

    @property
    def is_patient(self) -> bool:
        """It has time enough for every trouble to be noticed and mended."""
        return self.timeout_s >= PATIENT_S


@dataclass(frozen=True)
class Call:
    """What a client sends at once: one request, or several on a stream."""

    at_s: float
    client: str
    asks: tuple[Ask, ...]
    is_stream: bool = False


@dataclass(frozen=True)
class Trouble:
    """Something that is done to a worker.

    Attributes:
        at_s: when.
        kind: "pause", "kill", "disconnect", "limit-cpu", or an injected fault.
        worker: its name.
        lasts_s: until it is undone.
        faults: what is injected, as in a scenario file; None for a real trouble.
        clear_s: from then on the worker counts as back.
    """

    at_s: float
    kind: str
    worker: str
    lasts_s: float
    faults: dict[str, Any] | None = None
    clear_s: float = 0.0

    @property
    def is_lie(self) -> bool:
        """It makes results wrong."""
        return self.faults is not None and "corruption" in self.faults


FAULTS: dict[str, dict[str, Any]] = {
    "delay": {"delay": {"law": "pareto", "scale_ms": 20, "b": 1.5}},
    "delay, bursts": {
        "delay": {
            "law": "bursts", "fast_ms": 0, "slow_ms": 250, "enter_probability": 0.1,
            "leave_probability": 0.2,
        }
    },
    "drop": {"failure": {"kind": "drop", "probability": 0.3}},
    "refuse": {"failure": {"kind": "refuse", "probability": 0.3}},
    "break stream": {"failure": {"kind": "disconnect", "probability": 0.05}},
    "hang": {"failure": {"kind": "hang", "at_s": 0}},
}  # fmt: skip
LIES: tuple[dict[str, Any], ...] = (
    {"law": "sign-flip"}, {"law": "gaussian", "scale": 10.0}, {"law": "swap"},
)  # fmt: skip
# Seconds from the end of a trouble until the worker serves again, with room: a new process imports
# torch, a broken connection is dialled anew.
BACK_S = {"kill": 12.0, "hang": 4.0}
USUALLY_BACK_S = 3.0


def troubles(
    seed: int, seconds: float, workers: Sequence[str], kinds: Sequence[str]
) -> list[Trouble]:
    """A schedule in which at most OUT workers are in trouble at once, beside a liar.

    Args:
        seed: of all that is drawn.
        seconds: of the run.
        workers: names.
        kinds: real troubles that the cluster can be put into; faults are injected in any.
    """
    rng = np.random.default_rng([seed, 1])
    calm_s = min(CALM_S, seconds / 10)
    found: list[Trouble] = []

    def add(at_s: float, kind: str, lasts_s: float, back_s: float, faults: Any = None) -> None:
        clear_s = at_s + lasts_s + back_s
        beside = [t for t in found if t.at_s < clear_s and t.clear_s > at_s]
        busy = {trouble.worker for trouble in beside}
        free = [w for w in workers[WATCHED if kind == "kill" else 0 :] if w not in busy]
        out = sum(not trouble.is_lie for trouble in beside)
        if (out < OUT or kind == "lie") and free and at_s + lasts_s < seconds - calm_s:
            found.append(Trouble(at_s, kind, str(rng.choice(free)), lasts_s, faults, clear_s))

    # Lies first: they keep a worker away for long, and others find their place around them.
    for start in np.arange(0.3 * min(seconds, LIE_EVERY_S), seconds, LIE_EVERY_S):
        law = LIES[int(rng.integers(len(LIES)))]
        lasts_s = min(LIE_S, seconds / 6)
        add(float(start), "lie", lasts_s, QUARANTINE_S, {"corruption": law})
    at_s = calm_s
    while at_s < seconds:
        choices = list(FAULTS) if rng.random() < INJECTED or not kinds else kinds
        kind = choices[int(rng.integers(len(choices)))]
        lasts_s = float(rng.uniform(1.0, 6.0))
        add(at_s, kind, lasts_s, BACK_S.get(kind, USUALLY_BACK_S), FAULTS.get(kind))
        at_s += float(rng.exponential(GAP_S)) + 0.5
    return sorted(found, key=lambda trouble: trouble.at_s)


def calls(
    seed: int,
    seconds: float,
    systems: Sequence[System],
    images: int,
    schedule: Sequence[Trouble] = (),
) -> Iterator[Call]:
    """The clients' calls, in order of time.

    Args:
        seed: of all that is drawn.
        seconds: of the run.
        systems: that are asked.
        images: how many there are to choose from.
        schedule: around its lies only those systems are asked that bear them.
    """
    rng = np.random.default_rng([seed, 2])
    lies = [trouble for trouble in schedule if trouble.is_lie]
    number = 0
    for at_s in _times(rng, seconds):
        is_lied = any(
            lie.at_s - LIE_GUARD_S <= at_s <= lie.at_s + lie.lasts_s + AFTER_LIE_S for lie in lies
        )
        open_to = [system for system in systems if system.bears_liars or not is_lied]
        client = CLIENTS[int(rng.integers(len(CLIENTS)))]
        is_stream = rng.random() < 0.12
        system = open_to[int(rng.integers(len(open_to)))].name
        count = int(rng.integers(2, MOST_BATCHES + 1)) if is_stream else 1
        asks = []
        for _ in range(count):
            asks.append(_ask(rng, number, system, images, is_stream, client))
            number += 1
        yield Call(at_s, client, tuple(asks), is_stream)


def _times(rng: np.random.Generator, seconds: float) -> list[float]:
    count = rng.poisson(RATE * seconds)
    steady = rng.uniform(0, seconds, count)
    bursts = np.repeat(rng.uniform(0, seconds, int(seconds / BURST_EVERY_S)), BURST_CALLS)
    return sorted(float(at) for at in (*steady, *bursts))


def _ask(
    rng: np.random.Generator, number: int, system: str, images: int, is_stream: bool, client: str
) -> Ask:
    count = int(np.exp(rng.uniform(0, np.log(MOST_ROWS + 1))))
    rows = tuple(int(row) for row in rng.integers(images, size=count))
    if is_stream:  # its requests share one wish
        return Ask(number, system, rows, PATIENT_S)
    allow_partial = bool(rng.random() < 0.3)
    what = rng.random()
    if what < 0.2:
        hasty_s = float(np.exp(rng.uniform(np.log(0.01), np.log(1.0))))
        return Ask(number, system, rows, hasty_s, allow_partial)
    if what < 0.26:
        wrong = MALFORMED[int(rng.integers(len(MALFORMED)))]
        return Ask(number, system, rows, PATIENT_S, malformed=wrong)
    if what < 0.32 and client.startswith("aio"):  # a blocking call cannot be given up
        return Ask(number, system, rows, PATIENT_S, cancel_s=float(rng.exponential(0.02)))
    return Ask(number, system, rows, PATIENT_S, allow_partial)
