"""The matrices that a worker holds by name: bounded memory, versions, steps staged and committed.

Knows no messages and no faults of tasks: `worker/matrices_service.py` speaks, `operations.py` runs
things on the device. Blocks are read and changed on the device thread only, one operation at a
time; what is counted, any thread may ask and the event loop reserves.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from kofn.wire.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

STALE = "stale"  # reason: another version is held than was asked for
NO_MATRIX = "no-matrix"
PANEL_FLOPS = 2e9  # of a product between two looks at whether it is wanted still: tens of ms

Wrong = Callable[[Tensor], Tensor]  # what an injected corruption makes of a matrix


@dataclass(eq=False)
class Step:
    """A step of gradient descent that has come and is not done yet.

    Attributes:
        outputs, inputs: [rows, b] and [columns, b], on the device.
        rate, momentum, weight_decay: as of torch.optim.SGD.
        wrong: of an injected corruption; applied to what the step makes.
        reserved_bytes: what it takes beside the block: its factors, and a momentum to be.
    """

    outputs: Tensor
    inputs: Tensor
    rate: float
    momentum: float
    weight_decay: float
    wrong: Wrong
    reserved_bytes: int


@dataclass(eq=False)
class Block:
    """A matrix that is held.

    Attributes:
        value: [rows, columns], on the device.
        version: steps done on it; or whatever it was put as.
        momentum: of the same shape; None is zero.
        staged: the step that makes `version + 1`.
    """

    value: Tensor
    version: int
    momentum: Tensor | None = None
    staged: Step | None = None

    @property
    def size_bytes(self) -> int:
        """All that it takes."""
        momentum = 0 if self.momentum is None else self.momentum.nbytes
        return self.value.nbytes + momentum + (self.staged.reserved_bytes if self.staged else 0)

    def commit(self) -> None:
        """Do the staged step."""
        step, self.staged = self.staged, None
        assert step is not None
        factor = step.inputs.T  # plain transpose: that is what commutes with the code
        if step.momentum == 0:
            self.value.mul_(1 - step.rate * step.weight_decay)
            self.value.addmm_(step.outputs, factor, alpha=-step.rate)
        else:
            if self.momentum is None:
                self.momentum = torch.zeros_like(self.value)
            self.momentum.addmm_(step.outputs, factor, beta=step.momentum)
            self.momentum.add_(self.value, alpha=step.weight_decay)
            self.value.add_(self.momentum, alpha=-step.rate)
        self.value = step.wrong(self.value)
        self.version += 1


class Matrices:
    """What this worker holds.

    Args:
        declared_bytes: most that blocks, and operands and answers under way, may take.
    """

    def __init__(self, declared_bytes: int) -> None:
        self.declared_bytes = declared_bytes
        self._blocks: dict[str, Block] = {}
        self._reserved_bytes = 0  # by calls under way
        self._counting = threading.Lock()  # of the line above

    @property
    def used_bytes(self) -> int:
        """Of blocks and of calls under way."""
        return self._reserved_bytes + sum(block.size_bytes for block in list(self._blocks.values()))

    def blocks(self) -> dict[str, Block]:
        """All that is held, by name; not to be written to."""
        return dict(self._blocks)

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Keep room for a call while it is under way.

        Raises:
            ResourceExhausted: there is not as much.
        """
        with self._counting:
            left = self.declared_bytes - self.used_bytes
            if size_bytes > left:
                raise ResourceExhausted(
                    f"This worker's matrices may take {self.declared_bytes} bytes, of which "
                    f"{max(0, left)} are free, and {size_bytes} are needed.",
                    "no-memory",
                )
            self._reserved_bytes += size_bytes
        try:
            yield
        finally:
            with self._counting:
                self._reserved_bytes -= size_bytes

    # On the device thread.

    def put(self, name: str, version: int, value: Tensor) -> Block:
        """Hold a matrix in place of what was held under its name, staged step and momentum too."""
        self._blocks[name] = Block(value, version)
        return self._blocks[name]

    def put_momentum(self, name: str, version: int, momentum: Tensor) -> Block:
        """Give a matrix its momentum.

        Raises:
            NotFound, FailedPrecondition: as of `at`.
            InvalidArgument: of another shape or dtype.
        """
        block = self.at(name, version)
        if (momentum.shape, momentum.dtype) != (block.value.shape, block.value.dtype):
            raise InvalidArgument(
                f"The momentum of {name!r} must be {block.value.dtype} {list(block.value.shape)}, "
                f"not {momentum.dtype} {list(momentum.shape)}."
            )
        block.momentum = momentum
        return block

    def at(self, name: str, version: int) -> Block:
        """A matrix in this version, its staged step done where that makes it.

        Raises:
            NotFound: nothing is held under this name.
            FailedPrecondition: it is of another version.
        """
        block = self.named(name)
        if block.staged is not None and version == block.version + 1:
            block.commit()
        if block.version != version:
            raise _stale(name, block, version)
        return block

    def stage(self, name: str, number: int, step: Step) -> Block:
        """Keep a step until it is asked for; the one before is done first.

        Raises:
            NotFound: nothing is held under this name.
            FailedPrecondition: steps between are missing.
            InvalidArgument: it does not fit the matrix.
        """
        block = self.named(name)
        if number <= block.version:
            return block  # done already: the caller repeats itself
        if block.staged is not None and number == block.version + 2:
            block.commit()
        if number != block.version + 1:
            raise _stale(name, block, number - 1)
        rows, columns = block.value.shape
        for what, factor, size in (
            ("outputs", step.outputs, rows),
            ("inputs", step.inputs, columns),
        ):
            if factor.shape[0] != size or factor.dtype != block.value.dtype:
                raise InvalidArgument(
                    f"{what} of a step on {name!r} must be {block.value.dtype} [{size}, b], not "
                    f"{factor.dtype} {list(factor.shape)}."
                )
        if step.outputs.shape[1] != step.inputs.shape[1]:
            raise InvalidArgument("outputs and inputs of a step must have as many columns.")
        block.staged = step
        return block

    def drop(self, names: list[str], prefix: str) -> None:
        """Forget matrices by name, and those whose names begin with the prefix."""
        for name in list(self._blocks):
            if name in names or (prefix and name.startswith(prefix)):
                del self._blocks[name]

    def named(self, name: str) -> Block:
        """A matrix by its name, whatever its version; raises NotFound."""
        try:
            return self._blocks[name]
        except KeyError:
            raise NotFound(f"This worker holds no matrix {name[:80]!r}.", NO_MATRIX) from None


def product(left: Tensor, right: Tensor, is_wanted: Callable[[], bool]) -> Tensor:
    """left @ right, in panels of rows; empty once it is not wanted any more.

    A complex matrix by a real one is two real products: half the work of a complex one.

    Raises:
        InvalidArgument: shapes or precisions do not fit.
    """
    if left.shape[1] != right.shape[0]:
        raise InvalidArgument(
            f"left must have as many columns as right has rows, not {list(left.shape)} and "
            f"{list(right.shape)}."
        )
    if torch.finfo(left.dtype).bits != torch.finfo(right.dtype).bits:
        raise InvalidArgument(
            f"left and right must be of one precision, not {left.dtype} and {right.dtype}."
        )
    both = torch.promote_types(left.dtype, right.dtype)
    result = torch.empty((left.shape[0], right.shape[1]), dtype=both, device=left.device)
    step = max(64, int(PANEL_FLOPS / (2 * right.numel())))
    for start in range(0, left.shape[0], step):
        if not is_wanted():
            return result[:0]
        panel, into = left[start : start + step], result[start : start + step]
        if left.is_complex() == right.is_complex():
            torch.mm(panel, right, out=into)
        elif left.is_complex():
            torch.complex(panel.real @ right, panel.imag @ right, out=into)
        else:
            torch.complex(panel @ right.real, panel @ right.imag, out=into)
    return result


def _stale(name: str, block: Block, version: int) -> FailedPrecondition:
    staged = ", and the next step is staged" if block.staged is not None else ""
    return FailedPrecondition(
        f"Matrix {name[:80]!r} is of version {block.version}{staged}; asked for is {version}.",
        STALE,
    )
