"""What the workers returned for one coded batch: checked, held by slot, decoded, judged."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from codes.locating import Doubts, LocatesErrors
from kofn.wire import worker_pb2
from kofn.wire.tensors import from_wire
from master.coding import Coding

# Of the largest entry of a slot's results. Honest workers differ by less: by rounding, in bfloat16
# by some hundredths; a lie within it does as little harm.
SAME = 0.05


class Results:
    """The results of one batch.

    Args:
        coding: says what a result must be, and decodes.
        groups: coding groups in the batch.
    """

    def __init__(self, coding: Coding, groups: int) -> None:
        self.workers: dict[int, str] = {}  # whose result a slot has: addresses
        self._coding = coding
        self._groups = groups
        self._arrays: dict[int, np.ndarray] = {}  # float32, as wide as the slot, read-only
        self._aside: dict[int, tuple[np.ndarray, str]] = {}  # with their workers

    def __len__(self) -> int:
        """Slots that have one."""
        return len(self._arrays)

    def __iter__(self) -> Iterator[int]:
        """These slots."""
        return iter(self._arrays)

    def take(self, slot: int, address: str, result: worker_pb2.Result) -> None:
        """Keep a slot's result; the first one stays.

        Raises:
            ValueError: it is of another program, no tensor, of another shape, or not finite; or of
                the worker whose result was set aside.
        """
        if slot in self._aside and self._aside[slot][1] == address:
            raise ValueError("its worker was asked before, and cannot confirm what it said")
        code = self._coding.code
        program = self._coding.programs[code.roles[slot]]
        if result.program != program:
            raise ValueError(f"it is of program {result.program[:12]!r}, not {program[:12]!r}")
        if not result.outputs:
            raise ValueError("it has no output")
        array = from_wire(result.outputs[0])
        width = code.widths[slot]
        rows = (width,) if width else ()
        expected = (self._groups, *rows, *self._coding.answer_shape)
        if array.shape != expected:
            raise ValueError(f"its shape is {list(array.shape)}, not {list(expected)}")
        if not np.isfinite(array).all():
            raise ValueError("it is not finite")
        if slot not in self._arrays:
            self._arrays[slot] = array.astype(np.float32, copy=False)
            self.workers[slot] = address

    def forget(self, slot: int) -> None:
        """It was found to be wrong."""
        del self._arrays[slot]

    def locate(self, slots: Sequence[int], most: int, sure: Sequence[int]) -> tuple[int, ...]:
        """Which of these are wrong, none of those that are sure; raises TooManyErrors."""
        code = self._coding.bound
        assert isinstance(code, LocatesErrors)  # a deployment with liars has such a code
        return code.locate(self._tensors(slots), slots, most, sure)

    def doubt(self, slots: Sequence[int], share: float, settled: Sequence[int]) -> int | None:
        """Which of these is worth having twice, none of those that are settled."""
        return self._doubts.doubt(self._tensors(slots), slots, share, settled)

    def set_aside(self, slot: int) -> str:
        """Until there is another one; its worker."""
        address = self.workers[slot]
        self._aside[slot] = self._arrays.pop(slot), address
        return address

    def aside(self, slot: int) -> str | None:
        """Whose result of a slot is set aside, and neither compared nor recalled yet."""
        return self._aside[slot][1] if slot in self._aside else None

    def recall(self, slot: int) -> None:
        """What was set aside is the slot's result."""
        self._arrays[slot], self.workers[slot] = self._aside.pop(slot)

    def compare(self, slot: int) -> str | None:
        """Of two results of a slot keep that which fits the others better, the first where they are
        the same; the worker that gave the other one, if they are not."""
        second, by_second = self._arrays[slot], self.workers[slot]
        self.recall(slot)
        if same(self._arrays[slot], second):
            return None
        slots, other = tuple(self), torch.from_numpy(second.copy())
        if not self._doubts.prefers(self._tensors(slots), slots, slot, other):
            return by_second
        by_first = self.workers[slot]
        self._arrays[slot], self.workers[slot] = second, by_second
        return by_first

    @property
    def _doubts(self) -> Doubts:
        code = self._coding.bound
        assert isinstance(code, Doubts)  # `gather` doubts no result of an exact code
        return code

    def check(self) -> tuple[float, tuple[int, ...]] | None:
        """How badly they fit together, and which slots seem to be wrong; None where not all are in
        or the code cannot tell."""
        code = self._coding.bound
        if len(self._arrays) < code.n:
            return None
        tensors = self._tensors(range(code.n))
        residual = code.residual(tensors)
        return None if residual is None else (residual, code.suspects(tensors))

    def direct(self, slot: int) -> np.ndarray:
        """A slot's own result [groups, *answer]."""
        return self._arrays[slot]

    def decoded(
        self, answers: Sequence[int], slots: Sequence[int]
    ) -> Mapping[int, tuple[np.ndarray, float]]:
        """Each answer [groups, *answer] with its expected error, NaN where that is unknown."""
        code = self._coding.code
        values = code.decode(self._tensors(slots), slots, answers).numpy()
        told = code.expected_error(slots)
        return {
            j: (values[:, i], float("nan") if told is None else float(told[j]))
            for i, j in enumerate(answers)
        }

    def _tensors(self, slots: Sequence[int]) -> list[torch.Tensor]:
        # Copies: torch wants memory that it may write to.
        return [torch.from_numpy(self._arrays[slot].copy()) for slot in slots]


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two honest workers may have given these results of one slot."""
    largest = max(np.abs(first).max(), np.abs(second).max())
    return bool(np.abs(first - second).max() <= SAME * largest)
