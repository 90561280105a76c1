"""Who judges the batches of `bench.liars`: the code, the code and a second worker, or a published
locator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from bench.rational import rational_suspects
from codes.berrut import Berrut
from codes.calibrated import Calibrated
from codes.locating import Doubts, LocatesErrors, TooManyErrors
from master.events import Judge
from master.gains import Gains, bits, mask
from master.policy import Policy
from master.results import same
from master.screening import Screen

AGAIN = Policy().recheck

Results = list[np.ndarray]  # by slot: float32 [groups, answer]
Again = Callable[[int], tuple[int, np.ndarray]]  # of a slot: who is asked again, and says what
# "own": the code's; "twice": so are results in doubt, of another worker; "rational": the published
# one, which drops one slot in any case, with Berrut's own decoder.
Locator = Literal["own", "twice", "rational"]


@dataclass(frozen=True)
class Verdict:
    """What came of a batch's results.

    Attributes:
        results: to decode from, those of `accused` slots left out.
        accused: slots whose result was found to be wrong.
        asked: results that were asked for again.
        found: slots whose worker lied, as a second result told.
    """

    results: Results
    accused: tuple[int, ...]
    asked: int = 0
    found: tuple[int, ...] = ()

    @property
    def named(self) -> tuple[int, ...]:
        """Slots whose workers are known to have lied, ascending."""
        return tuple(sorted({*self.found, *self.accused}))


def _located(code: LocatesErrors, results: Results, again: Again) -> Verdict:
    broken = _broken(results)
    if broken:
        return Verdict(results, broken)
    try:
        return Verdict(results, code.locate(tensors(results), range(code.n), 1))
    except TooManyErrors:
        return Verdict(results, ())


def _located_twice(code: LocatesErrors, results: Results, again: Again) -> Verdict:
    """By the master's own questions, as long as nobody is late."""
    results, liars, asked = list(results), set[int](), 0
    if _broken(results):
        return Verdict(results, _broken(results))
    assert isinstance(code, Doubts)
    screen, came = Screen(Gains(code), 1, rechecks=True), mask(range(code.n))
    while not screen.is_believed(came):
        slots, told = tuple(bits(came)), tensors(results)
        question = screen.question(came, came)
        if isinstance(question, Judge):
            lied = code.locate(told, slots, question.most, question.sure)
            screen.take(came, mask(lied))
            came &= ~mask(lied)
            continue
        suspects = sorted(liars - set(question.settled))
        slot = suspects[0] if suspects else code.doubt(told, slots, AGAIN, question.settled)
        if slot is None:
            screen.clear(came)
        else:
            screen.recheck(slot)
            asked += 1
            first, (other, second) = results[slot], again(slot)
            was_lie = False
            if not same(first, second):
                was_lie = code.prefers(told, slots, slot, *tensors([second]))
                results[slot] = second if was_lie else first
                liars.add(slot if was_lie else other)
            screen.settle(was_lie)
    accused = tuple(slot for slot in range(code.n) if not came >> slot & 1)
    return Verdict(results, accused, asked, tuple(liars))


def _rational(code: LocatesErrors, results: Results, again: Again) -> Verdict:
    plain = code.code if isinstance(code, Calibrated) else code
    assert isinstance(plain, Berrut)
    values = np.stack(results).astype(np.float64)
    return Verdict(results, rational_suspects(values, plain.slot_points, plain.k, 1))


def _broken(results: Results) -> tuple[int, ...]:
    """Slots whose results the master takes for no reply."""
    return tuple(slot for slot, result in enumerate(results) if not np.isfinite(result).all())


JUDGES: dict[Locator, Callable[[LocatesErrors, Results, Again], Verdict]] = {
    "own": _located,
    "twice": _located_twice,
    "rational": _rational,
}


def tensors(results: Results) -> list[torch.Tensor]:
    """As codes take them."""
    return [torch.from_numpy(np.array(result)) for result in results]
