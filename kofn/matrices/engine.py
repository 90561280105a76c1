"""One coded product, from operands to C: shares out to all workers, answers back, decoded.

Every worker is a node. What goes wrong at one is tried again there a few times, since a worker that
died may be back in a second; then it is erased. C comes from whichever answers decode first, and
from more where their error would be too large or one of them is wrong.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from codes.polydot import Decoded, Noise, Product, noise_of, worst
from codes.polydot.families import FAMILIES
from kofn.matrices.choosing import Grid, Sizes, code_for
from kofn.matrices.gathering import Gathered, gathered
from kofn.matrices.shares import Shares, check_finite, check_kind
from kofn.matrices.worker import Answer, MatrixWorker
from kofn.wire import matrices_pb2 as pb
from kofn.wire.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    KofnError,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from kofn.wire.matrices import DTYPES

Array = npt.NDArray[Any]

TRIES = 3  # at one worker
PAUSE_S = 0.5  # before the second try, doubled after each: a worker that died is back by then
# What no repetition mends.
FINAL = (
    InvalidArgument, FailedPrecondition, ResourceExhausted, PermissionDenied, Unauthenticated,
    Unimplemented,
)  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """How a product shall be made.

    Attributes:
        grid: (m, p, n); None chooses.
        family: as of `codes.polydot.Product`.
        spares: answers beyond those that decode that are waited for while they may still come:
            with one, whoever lies is noticed; with more, named sooner.
        max_error: largest estimate of the relative error; None is the square root of eps.
        timeout_s: for all of it.
        seed: of the faults that workers inject; None draws one.

    Raises:
        InvalidArgument: a family that is none, or a number that is too small.
    """

    grid: Grid | None = None
    family: str = "auto"
    spares: int = 1
    max_error: float | None = None
    timeout_s: float = 600.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.family not in ("auto", *FAMILIES):
            accepted = ", ".join(("auto", *FAMILIES))
            raise InvalidArgument(f"family must be one of {accepted}, not {self.family[:80]!r}.")
        if self.spares < 0:
            raise InvalidArgument(f"spares must be at least 0, not {self.spares}.")
        for name in ("timeout_s", "max_error"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidArgument(f"{name} must be above 0, not {value}.")


@dataclass
class Progress:
    """How far a product has come, for whoever looks at it meanwhile."""

    nodes: int = 0  # workers that take part; any `needed` of them do
    needed: int = 0
    answered: int = 0
    failed: int = 0  # tries that came to nothing
    waiting: str = ""  # why more answers are waited for, where enough to decode have come
    operands: tuple[Shares, ...] = ()  # where they are sent from here
    told_sent: float = 0.0  # where somebody else sends them and tells

    @property
    def sent(self) -> float:
        """Of all that goes to workers, 0 to 1."""
        if not self.operands:
            return self.told_sent
        all_bytes = sum(one.size_bytes for one in self.operands) * self.nodes
        return sum(one.sent_bytes for one in self.operands) / all_bytes


@dataclass(frozen=True)
class Report:
    """What became of a product.

    Attributes:
        code: that was used.
        estimate: the relative error is at most this, in the Frobenius norm.
        used, liars: addresses of workers whose answers were decoded from, and were wrong.
        checked: more answers came than decoding needs, so that a wrong one would have shown.
        failures: by address, of workers that failed in the end.
        compute_s: of each answer, what the worker said, by address.
        wait_s, decode_s: until enough had come, and then.
    """

    code: Product
    estimate: float
    used: tuple[str, ...]
    liars: tuple[str, ...]
    checked: bool
    failures: Mapping[str, KofnError] = field(default_factory=dict)
    compute_s: Mapping[str, float] = field(default_factory=dict)
    wait_s: float = 0.0
    decode_s: float = 0.0


async def plan(
    workers: Sequence[MatrixWorker], a: pb.MatrixHead, b: pb.MatrixHead, wish: Wish
) -> tuple[Product, list[MatrixWorker]]:
    """The code of a product and the workers that can take part, in the order of its nodes.

    Only asks the workers what they declare: nothing of the operands is needed or sent.

    Raises:
        InvalidArgument: the operands do not fit each other, or the setting not the workers.
        ResourceExhausted: the shares do not fit into the workers' declared memory.
        Unavailable: no worker answers.
    """
    if a.columns != b.rows:
        raise InvalidArgument(
            f"A must have as many columns as B has rows, not [{a.rows}, {a.columns}] and "
            f"[{b.rows}, {b.columns}]."
        )
    asked = await asyncio.gather(*(worker.status() for worker in workers), return_exceptions=True)
    up: list[tuple[MatrixWorker, pb.MatricesStatus]] = []
    reasons = set()
    for worker, answer in zip(workers, asked, strict=True):
        if isinstance(answer, pb.MatricesStatus):
            up.append((worker, answer))
        elif isinstance(answer, KofnError):
            reasons.add(f"{worker.address}: {answer.message}")
        else:
            raise answer
    if not up:
        raise Unavailable(f"No worker answers: {'; '.join(sorted(reasons))[:500]}.")
    free = [max(0, status.declared_bytes - status.used_bytes) for _, status in up]
    sizes = Sizes(a.rows, a.columns, b.columns, DTYPES[a.datatype].itemsize)
    code = code_for(sizes, wish.grid, wish.family, free)
    return code, [worker for worker, _ in up]


async def multiply(
    workers: Sequence[MatrixWorker],
    a: Array,
    b: Array,
    code: Product,
    wish: Wish,
    progress: Progress | None = None,
) -> tuple[Array, Report]:
    """C = A B by as many workers as the code has nodes.

    Raises:
        InvalidArgument: an operand is no finite matrix of float32 or float64.
        Unavailable, FailedPrecondition: as of `gathered`.
        DeadlineExceeded: it took longer than it may.
    """
    for name, matrix in (("A", a), ("B", b)):
        check_kind(name, matrix)
        await asyncio.to_thread(check_finite, name, matrix)
    if a.dtype != b.dtype:
        raise InvalidArgument(f"A and B must be of one dtype, not {a.dtype} and {b.dtype}.")
    progress = Progress() if progress is None else progress
    progress.nodes, progress.needed = code.nodes, code.node_threshold
    made = _Product(workers, a, b, code, wish, progress)
    try:
        async with asyncio.timeout(wish.timeout_s):
            return await made.run()
    except TimeoutError:
        raise DeadlineExceeded(
            f"The product took longer than {wish.timeout_s:g} s: {progress.answered} of "
            f"{code.nodes} workers have answered, and {code.node_threshold} must."
            + (f" {progress.waiting}" if progress.waiting else "")
        ) from None


class _Product:
    """The product under way."""

    def __init__(
        self,
        workers: Sequence[MatrixWorker],
        a: Array,
        b: Array,
        code: Product,
        wish: Wish,
        progress: Progress,
    ) -> None:
        self._progress = progress
        self._workers = workers
        self._code = code
        self._wish = wish
        self._shape = (a.shape[0], b.shape[1])
        self._eps = float(np.finfo(a.dtype).eps)
        self._a = Shares(a, code.mixing.of_a, 0)
        self._b = Shares(b, code.mixing.of_b, 1)
        progress.operands = (self._a, self._b)
        self._seed = secrets.randbits(48) if wish.seed is None else wish.seed
        self._due_s = monotonic() + wish.timeout_s
        self._decode_s = 0.0

    async def run(self) -> tuple[Array, Report]:
        began_s = monotonic()
        code = self._code
        found = await gathered(
            {node: self._asked(node) for node in range(code.nodes)},
            self._decoded,
            fewest=code.node_threshold,
            spares=min(self._wish.spares, code.nodes - code.node_threshold),
            tell=self._waits,
        )
        self._progress.waiting = ""
        return found.decoded.values, self._report(found, monotonic() - began_s)

    async def _asked(self, node: int) -> Answer:
        """One worker's answer, tried for a few times."""
        worker = self._workers[node]
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE_S * 2 ** (attempt - 1))
            try:
                answer = await worker.multiply(
                    self._a.of(node),
                    self._b.of(node),
                    max(0.01, self._due_s - monotonic()),
                    seed=self._seed + node + (attempt << 32),
                )
                self._check(answer)
            except KofnError as error:
                self._progress.failed += 1
                if isinstance(error, FINAL) or attempt == TRIES - 1:
                    raise
            else:
                self._progress.answered += 1
                return answer
        raise AssertionError("the last try returns or raises")

    def _check(self, answer: Answer) -> None:
        """Raise Internal where an answer cannot be one: it is as good as none."""
        wanted = (self._a.height, self._b.width)
        if answer.array.shape != wanted or answer.array.dtype != self._a.dtype:
            raise Internal(
                f"The answer must be {self._a.dtype} {list(wanted)}, not {answer.array.dtype} "
                f"{list(answer.array.shape)}."
            )

    def _decoded(self, answers: Mapping[int, Answer]) -> Decoded:
        began_s = monotonic()
        noises = [self._noise(node) for node in answers]
        try:
            return self._code.decode(
                {node: answer.array for node, answer in answers.items()},
                worst(noises),
                self._shape,
                max_error=self._wish.max_error,
                seed=secrets.randbits(32),  # who lies on purpose must not know it
            )
        finally:
            self._decode_s = monotonic() - began_s

    def _noise(self, node: int) -> Noise:
        entries = self._a.height * self._b.width
        return noise_of(self._a.energies[node], self._b.energies[node], entries, self._eps)

    def _report(self, found: Gathered[Answer, Decoded], took_s: float) -> Report:
        at = [worker.address for worker in self._workers]
        decoded = found.decoded
        return Report(
            code=self._code,
            estimate=decoded.estimate,
            used=tuple(at[node] for node in decoded.nodes),
            liars=tuple(at[node] for node in decoded.liars),
            checked=len(found.results) * self._code.rows_per_node > self._code.threshold,
            failures={at[node]: error for node, error in found.failures.items()},
            compute_s={at[node]: one.compute_s for node, one in found.results.items()},
            wait_s=took_s - self._decode_s,
            decode_s=self._decode_s,
        )

    def _waits(self, why: str) -> None:
        self._progress.waiting = why
