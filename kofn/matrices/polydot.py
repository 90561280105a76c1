"""`PolyDot`: coded matrix products over workers, from Python."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from codes.polydot import Limits, Product
from kofn.matrices.engine import Progress, Report, Wish, multiply, plan
from kofn.matrices.shares import check_kind
from kofn.matrices.worker import MatrixWorker
from kofn.wire.errors import InvalidArgument
from kofn.wire.matrices import Array, head_of
from kofn.wire.tls import Tls


class _Addressed(Protocol):
    address: str


class _Cluster(Protocol):
    """What `kofn.launch` starts: clusters, and launchers."""

    workers: Sequence[_Addressed]


@dataclass(frozen=True)
class Multiplied:
    """A product and how good it is.

    Attributes:
        product: C, of the operands' kind and dtype.
        report: what became of it; `report.estimate` bounds the relative error.
    """

    product: Any
    report: Report

    @property
    def estimate(self) -> float:
        """The relative error is at most this, in the Frobenius norm."""
        return self.report.estimate


class PolyDot:
    """Products C = A B of blocks, coded so that a part of the workers is enough.

    A's rows are cut into m blocks, the inner dimension into p, B's columns into n; sizes that do
    not divide are padded. Each worker multiplies one mix of A's blocks and one of B's. Sizes,
    settings and the workers' declared memory are checked before anything is sent.

    Args:
        m, p, n: blocks; None in all three chooses, leaving a quarter of the workers to spare.
        workers: their addresses "host:port", or a cluster of `kofn.launch` that runs.
        family: "auto", or one of `codes.polydot.families.FAMILIES`; see `codes.polydot.Product`.
        spares: answers beyond those that decode that are waited for while they may still come:
            with 1, a wrong one is noticed, and more are waited for; with more it is named sooner.
        max_error: largest estimate of the relative error; default: the square root of eps.
        timeout_s: of a product.
        tls: of the workers; None is plaintext.
    """

    def __init__(  # noqa: PLR0913 - a setting each
        self,
        m: int | None = None,
        p: int | None = None,
        n: int | None = None,
        *,
        workers: Sequence[str] | _Cluster,
        family: str = "auto",
        spares: int = 1,
        max_error: float | None = None,
        timeout_s: float = 600.0,
        tls: Tls | None = None,
    ) -> None:
        if isinstance(workers, Sequence):
            self._addresses = [str(address) for address in workers]
        else:
            self._addresses = [worker.address for worker in workers.workers]
        self._wish = wish_of(m, p, n, family, spares, max_error, timeout_s)
        self._tls = tls

    def matmul(self, a: Any, b: Any, progress: Progress | None = None) -> Multiplied:
        """A [N1, N2] times B [N2, N3]: NumPy arrays or torch tensors, float32 or float64.

        Args:
            a, b: the operands, left unchanged.
            progress: is kept up to date meanwhile.

        Raises:
            InvalidArgument: operands that do not fit or are not finite; a setting that needs more
                workers than there are, with the nearest that works.
            ResourceExhausted: the shares do not fit into the workers' declared memory.
            Unavailable: too few workers answered.
            FailedPrecondition: the answers do not decode: too many are wrong, or the error would
                be over its limit.
            DeadlineExceeded: it took longer than it may.
        """
        return asyncio.run(self.matmul_async(a, b, progress))

    async def matmul_async(self, a: Any, b: Any, progress: Progress | None = None) -> Multiplied:
        """`matmul` for asyncio."""
        left, right = _array("A", a), _array("B", b)
        async with connected(self._addresses, self._tls) as workers:
            code, able = await plan(workers, head_of(left), head_of(right), self._wish)
            product, report = await multiply(able, left, right, code, self._wish, progress)
        if isinstance(a, np.ndarray):
            return Multiplied(product, report)
        import torch

        return Multiplied(torch.from_numpy(np.ascontiguousarray(product)).to(a.device), report)

    def most_liars(self, erased: int = 0) -> Limits:
        """How many wrong answers are corrected where all workers but `erased` answer.

        Raises:
            InvalidArgument: no (m, p, n) was given, or it needs more workers.
        """
        if self._wish.grid is None:
            raise InvalidArgument("m, p and n must be given: without, each product has its own.")
        try:
            code = Product(*self._wish.grid, nodes=len(self._addresses), family=self._wish.family)
        except ValueError as error:
            raise InvalidArgument(str(error)) from error
        return code.most_liars(erased)


def wish_of(
    m: int | None,
    p: int | None,
    n: int | None,
    family: str,
    spares: int,
    max_error: float | None,
    timeout_s: float,
) -> Wish:
    """What `PolyDot` is told, checked; raises InvalidArgument."""
    given = (m, p, n)
    if any(size is None for size in given) and any(size is not None for size in given):
        raise InvalidArgument(f"m, p and n must be given all or none, not {given}.")
    grid = None if m is None or p is None or n is None else (m, p, n)
    return Wish(grid, family, spares, max_error, timeout_s)


@asynccontextmanager
async def connected(addresses: Sequence[str], tls: Tls | None) -> AsyncIterator[list[MatrixWorker]]:
    """Workers at these addresses; their channels are closed at the end."""
    workers = [MatrixWorker(address, tls) for address in addresses]
    try:
        yield workers
    finally:
        await asyncio.gather(*(worker.close() for worker in workers))


def _array(name: str, given: Any) -> Array:
    """An operand as an array, without its entries being looked at; raises InvalidArgument."""
    if not isinstance(given, np.ndarray):
        try:
            given = given.detach().cpu().numpy()
        except AttributeError:
            raise InvalidArgument(
                f"{name} must be a NumPy array or a torch tensor, not {type(given).__name__}."
            ) from None
    check_kind(name, given)
    return np.asarray(given)
