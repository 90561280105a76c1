"""How wrong an answer with a matrix in it is: the corruptions of `faults.py`, applied to blocks."""

import numpy as np
import torch
from torch import Tensor

from kofn.wire.matrices import Array
from worker.faults import Injector

LAST_SHAPES = 16  # of answers, whose last one each is kept for "swap"


class MatrixFaults:
    """What callers are told of true matrices. Used on the device thread only."""

    def __init__(self) -> None:
        # The last true answer of each shape: what "swap" answers with, another's block.
        self._last: dict[tuple[int, ...], Array] = {}

    def told(self, seed: int, value: Tensor, injector: Injector) -> Array:
        """What is sent of a true answer, whose memory is nobody else's."""
        truth: Array = value.cpu().numpy()
        if injector.faults.corruption is None:
            return truth
        before = self._last.pop(truth.shape, None)
        self._last[truth.shape] = truth.copy()
        if len(self._last) > LAST_SHAPES:
            del self._last[next(iter(self._last))]
        if before is None or before.dtype != truth.dtype or np.array_equal(before, truth):
            before = np.roll(truth, 1)  # answers of other places, where there is no other block
        (wrong,) = injector.corrupt(seed, [_reals(truth)[None]], [_reals(before)[None]])
        return _as_was(wrong[0], truth)

    def left(self, seed: int, value: Tensor, injector: Injector) -> Tensor:
        """What a step leaves in a matrix that is held."""
        if injector.faults.corruption is None:
            return value
        truth = value.cpu().numpy()
        right = [_reals(truth)]
        wrong = injector.corrupt_update(seed, right)
        if wrong is right:
            return value
        return torch.from_numpy(_as_was(wrong[0], truth)).to(value.device)


def _reals(array: Array) -> Array:
    """Complex numbers as pairs: faults concern both parts."""
    return array.view(array.real.dtype) if np.iscomplexobj(array) else array


def _as_was(array: Array, truth: Array) -> Array:
    return np.ascontiguousarray(array).view(truth.dtype).reshape(truth.shape)
