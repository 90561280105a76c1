"""Waiting for gain, not for a count: how many answers that takes, and what they are worth."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bench.lagrange.plan import Stop
from codes.split_lagrange import SplitLagrange
from training.measure import Answered


@dataclass(frozen=True)
class Stopped:
    """Over orders of arrival, each as probable as the others.

    Attributes:
        gain: where decoding stops.
        orders: how many were drawn.
        answers: that were used, on average.
        overall, worst: accuracy on average, and of the set of slots for which it is lowest.
        sets: of slots that it stopped at.
    """

    gain: float
    orders: int
    answers: float
    overall: float
    worst: float
    sets: int


def stopped(answered: Answered, stop: Stop, seed: int) -> dict[str, Any]:
    """Let slots answer in orders drawn by chance, and decode at R of them or more once the gain of
    least squares is low enough, or when all have answered.

    Args:
        answered: of a `SplitLagrange` code; its own decoder decodes.
        seed: of the orders.

    Returns:
        A `Stopped`, as records keep it.
    """
    code = answered.code
    assert isinstance(code, SplitLagrange)
    # Gains of least squares; those that are served differ from them in the worst sets only.
    interpolating = replace(code, noise=0.0)
    rng = np.random.default_rng(seed)
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(stop.orders):
        order = [int(slot) for slot in rng.permutation(code.n)]
        for count in range(code.recovery_threshold, code.n + 1):
            slots = tuple(sorted(order[:count]))
            if count == code.n or max(interpolating.gain(slots)) <= stop.gain:
                counts[slots] += 1
                break
    labels = answered.labels[answered.groups]
    accuracy = {
        slots: float(
            (code.decode([answered.results[slot] for slot in slots], slots).argmax(-1) == labels)
            .float()
            .mean()
        )
        for slots in counts
    }
    found = Stopped(
        gain=stop.gain,
        orders=stop.orders,
        answers=round(sum(len(slots) * times for slots, times in counts.items()) / stop.orders, 3),
        overall=round(sum(accuracy[s] * times for s, times in counts.items()) / stop.orders, 5),
        worst=round(min(accuracy.values()), 5),
        sets=len(counts),
    )
    return asdict(found)
