"""Faults that a worker injects into itself: how late, failing or wrong each task turns out.

Pure: laws and seeded draws; waiting, ending the process and breaking streams are done elsewhere
(`runner.py`, `dispatch.py`). What files and messages say in milliseconds is in seconds here
(`faults_text.py` converts).

Every draw is a function of three things: the faults' seed, the worker's name and the task's seed,
hashed by keyed BLAKE2b, one hash a number (1 us; a NumPy generator made anew takes 17 us). So the
same task meets the same fault whatever arrived around it. One law has a memory: bursts are a chain
over the tasks in the order in which they are served, its state at the i-th task a function of the
faults' seed, the worker's name and i.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from worker.laws import Bursts, Law

Array = npt.NDArray[Any]
Kind = Literal["exit", "hang", "refuse", "drop", "disconnect"]
KINDS: tuple[Kind, ...] = ("exit", "hang", "refuse", "drop", "disconnect")

# What a number is drawn for; each purpose has a stream of its own, so that laws do not correlate.
_DELAY, _IS_LATE, _FAILS, _LIES, _NOISE, _BURST = range(6)
_MANTISSA_BITS = 53


class Uniforms:
    """Numbers in [0, 1) by (purpose, index): the same ones for the same seed and worker."""

    def __init__(self, seed: int, worker: str) -> None:
        self._key = blake2b(f"{seed}/{worker}".encode(), digest_size=32).digest()

    def bits(self, purpose: int, index: int) -> int:
        """64 random bits."""
        message = struct.pack("<QQ", purpose, index % 2**64)
        return int.from_bytes(blake2b(message, key=self._key, digest_size=8).digest(), "little")

    def at(self, purpose: int, index: int) -> float:
        """A number in [0, 1), a multiple of 2^-53."""
        return (self.bits(purpose, index) >> (64 - _MANTISSA_BITS)) / 2.0**_MANTISSA_BITS


@dataclass(frozen=True)
class Delay:
    """Time added to a task's service.

    Attributes:
        law: of its length.
        probability: share of the tasks that are delayed at all.
        interruptible: whether a cancellation ends the delay at once.
    """

    law: Law | Bursts
    probability: float = 1.0
    interruptible: bool = False


@dataclass(frozen=True)
class Failure:
    """A worker that fails, at a moment or by chance.

    Attributes:
        kind: "exit" ends the process; "hang" answers nothing and keeps its connections; "refuse"
            answers tasks with UNAVAILABLE; "drop" runs them and never sends the result;
            "disconnect" aborts streams.
        at_s: seconds after the faults were set; None when `probability` decides.
        probability: that a task fails so.
    """

    kind: Kind
    at_s: float | None = None
    probability: float = 0.0


@dataclass(frozen=True)
class Corruption:
    """Wrong results.

    Attributes:
        law: "gaussian" adds noise of standard deviation `scale`; "sign-flip" negates; "swap" gives
            each row the answer of another; "bit-flip" flips one bit of one element.
        probability: that a task's result is corrupted.
        scale: in units of the results.
        update_probability: that a step on a matrix which the worker holds leaves it corrupted.
    """

    law: Literal["gaussian", "sign-flip", "swap", "bit-flip"]
    probability: float = 1.0
    scale: float = 1.0
    update_probability: float = 0.0


@dataclass(frozen=True)
class Faults:
    """All that is wrong with a worker; the default is nothing."""

    seed: int = 0
    delay: Delay | None = None
    failure: Failure | None = None
    corruption: Corruption | None = None


class Injector:
    """Draws one worker's faults. One thread at a time may use each of its methods.

    Args:
        faults: the laws.
        worker: this worker's name: workers of one seed draw apart.
    """

    def __init__(self, faults: Faults, worker: str) -> None:
        self.faults = faults
        self._uniforms = Uniforms(faults.seed, worker)
        self._served = 0  # tasks asked for their delay, the index of the chain of bursts
        self._is_slow = False  # the chain's state at the last task

    def failure(self, seed: int, elapsed_s: float) -> Kind | None:
        """How a task fails that is met `elapsed_s` seconds after the faults were set, if it does.

        Of failures at a time, "refuse" and "drop" concern every task from then on; the others
        happen once, to the worker and not to a task: they are nothing here.
        """
        failure = self.faults.failure
        if failure is None:
            return None
        if failure.at_s is not None:
            concerns_tasks = failure.kind in ("refuse", "drop")
            return failure.kind if concerns_tasks and elapsed_s >= failure.at_s else None
        return failure.kind if self._uniforms.at(_FAILS, seed) < failure.probability else None

    def delay_s(self, seed: int) -> float:
        """Seconds added to the service of a task; call it once for each, in order of service."""
        delay = self.faults.delay
        if delay is None:
            return 0.0
        length_s = (
            self._burst_s(delay.law)
            if isinstance(delay.law, Bursts)
            else delay.law.quantile_s(self._uniforms.at(_DELAY, seed))
        )
        is_late = self._uniforms.at(_IS_LATE, seed) < delay.probability
        return max(0.0, length_s) if is_late else 0.0

    def corrupt(self, seed: int, outputs: list[Array], before: Sequence[Array] = ()) -> list[Array]:
        """The results that a task's stream is sent.

        Args:
            seed: the task's.
            outputs: its true results, [g, ...] each; left unchanged.
            before: the same program's last results to an earlier task, for "swap" where g is 1.

        Returns:
            `outputs` itself where this task is spared, else new arrays of the same shapes.
        """
        law = self.faults.corruption
        return (
            outputs if law is None else self._corrupt(law, law.probability, seed, outputs, before)
        )

    def corrupt_update(self, seed: int, values: list[Array]) -> list[Array]:
        """What a step makes of a matrix that the worker holds: as `corrupt`, and there to stay."""
        law = self.faults.corruption
        return values if law is None else self._corrupt(law, law.update_probability, seed, values)

    def _corrupt(
        self,
        law: Corruption,
        probability: float,
        seed: int,
        outputs: list[Array],
        before: Sequence[Array] = (),
    ) -> list[Array]:
        if self._uniforms.at(_LIES, seed) >= probability:
            return outputs
        noise = np.random.Generator(np.random.Philox(key=self._uniforms.bits(_NOISE, seed)))
        match law.law:
            case "gaussian":
                return [_noisy(array, law.scale, noise) for array in outputs]
            case "sign-flip":
                return [_negated(array) for array in outputs]
            case "swap":
                return _swapped(outputs, before)
            case "bit-flip":
                return [_flipped(array, noise) for array in outputs]

    def _burst_s(self, law: Bursts) -> float:
        level = self._uniforms.at(_BURST, self._served)
        if self._served == 0:
            self._is_slow = level < law.slow_share
        elif self._is_slow:
            self._is_slow = level >= law.leave_probability
        else:
            self._is_slow = level < law.enter_probability
        self._served += 1
        return law.slow_s if self._is_slow else law.fast_s


def _noisy(array: Array, scale: float, noise: np.random.Generator) -> Array:
    wrong = array + scale * noise.standard_normal(array.shape)
    if array.dtype.kind in "iu":
        bounds = np.iinfo(array.dtype)
        wrong = np.clip(np.rint(wrong), bounds.min, bounds.max)
    return wrong.astype(array.dtype)


def _negated(array: Array) -> Array:
    return ~array if array.dtype.kind in "bu" else -array


def _swapped(outputs: list[Array], before: Sequence[Array]) -> list[Array]:
    """Each row takes the next one's place; a row alone is answered with an earlier task's."""
    if len(outputs[0]) > 1 or not before:
        return [np.roll(array, 1, axis=0) for array in outputs]
    return [np.array(array[-1:]) for array in before]


def _flipped(array: Array, noise: np.random.Generator) -> Array:
    wrong = np.array(array, order="C")
    if wrong.size:
        if wrong.dtype.kind == "b":  # its other bits mean nothing
            element = noise.integers(wrong.size)
            wrong.reshape(-1)[element] ^= True
        else:
            bit = int(noise.integers(8 * wrong.nbytes))
            wrong.reshape(-1).view(np.uint8)[bit // 8] ^= np.uint8(1 << bit % 8)
    return wrong
