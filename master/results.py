"""What the workers returned for one coded batch: checked, held by slot, decoded, judged."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from codes.locating import LocatesErrors
from kofn.wire import worker_pb2
from kofn.wire.tensors import from_wire
from master.coding import Coding


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

    def __len__(self) -> int:
        """Slots that have one."""
        return len(self._arrays)

    def take(self, slot: int, address: str, result: worker_pb2.Result) -> None:
        """Keep a slot's result; the first one stays.

        Raises:
            ValueError: it is of another program, no tensor, of another shape, or not finite.
        """
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

    def locate(self, slots: Sequence[int], most: int) -> tuple[int, ...]:
        """Which of these are wrong; raises TooManyErrors."""
        code = self._coding.bound
        assert isinstance(code, LocatesErrors)  # a deployment with liars has such a code
        return code.locate(self._tensors(slots), slots, most)

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
