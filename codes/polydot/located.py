"""Locating wrong rows by their parities, up to one fewer than there are parities.

Honest rows times the parity matrix H are noise; wrong ones leave S = H E, whose column space is
that of the wrong nodes' columns of H. Errors that have nothing to do with each other span all of
it, so that a node is suspect iff its columns lie in it (MUSIC); errors that are related span less,
and the nodes are searched for, but only within the bound below which no other set explains the
same S: t <= (D + r - 1) / 2 rows for D parities and a rank of r. Beyond it nothing is named.
Source: design of this project; bounds as of [dutta2018].
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Float64

from codes.base import Matrix
from codes.locating import MOST_CHOICES

SIGMAS = 4.0  # singular values of pure noise reach sigma (sqrt L + sqrt D), and seldom 1.1 of that
FAINT = 100.0  # errors that are related and less above noise than that fit many sets of nodes
ROUNDING = 50 * float(np.finfo(np.float64).eps)  # of the parities themselves, of what they are of

AT_ONCE = 2000  # sets of nodes that are compared in one go: some MB

Parity = Callable[[tuple[int, ...]], Matrix]


class Unexplained(Exception):
    """Something is wrong, and no set of nodes within the bound explains it."""


def located(
    rows: Float64[np.ndarray, "rows q"],
    nodes: tuple[int, ...],
    noise: float,
    entries: int,
    width: int,
    parity: Parity,
) -> tuple[tuple[int, ...], float]:
    """The nodes whose rows are wrong, and the largest singular value of the others' parities.

    Args:
        rows: of these nodes, in order, `width` each; finite.
        nodes: ascending.
        noise: root mean square of an entry's noise.
        entries: how many there are of a row, before it was compressed to q.
        width: rows a node.
        parity: gives the parity matrix of some of the nodes; [0, rows] where there is none.

    Raises:
        Unexplained: see there.
    """
    liars: tuple[int, ...] = ()
    while True:
        kept = tuple(node for node in nodes if node not in liars)
        honest = _of(rows, nodes, kept, width)
        checks = parity(kept)
        if not len(checks):
            return liars, 0.0
        parities = checks @ honest
        limit = SIGMAS * noise * (np.sqrt(entries) + np.sqrt(len(checks)))
        limit = max(limit, ROUNDING * float(np.linalg.norm(honest)))
        largest = float(np.sqrt(np.linalg.norm(parities @ parities.T, 2)))
        if largest <= limit:  # nearly always, and quicker than all singular values
            return liars, largest
        left, sizes, _ = np.linalg.svd(parities, full_matrices=False)
        rank = int((sizes > limit).sum())
        if not rank:
            return liars, float(sizes[0])
        found = _suspects(checks, left, sizes, rank, limit, width)
        if len(found) > rank and sizes[rank - 1] < FAINT * limit:
            raise Unexplained
        liars = tuple(sorted((*liars, *(kept[i] for i in found))))


def is_one_codeword(
    rows: Float64[np.ndarray, "rows q"],
    nodes: tuple[int, ...],
    liars: tuple[int, ...],
    noise: float,
    entries: int,
    width: int,
    parity: Parity,
) -> bool:
    """Whether those who were found do not agree among themselves on something else: they would be
    as right as the others."""
    if not len(parity(liars)):
        return True
    try:
        located(_of(rows, nodes, liars, width), liars, noise, entries, width, parity)
    except Unexplained:
        return True
    return False


def _of(rows: Matrix, nodes: tuple[int, ...], some: tuple[int, ...], width: int) -> Matrix:
    places = [nodes.index(node) * width + row for node in some for row in range(width)]
    return rows[places]


def _suspects(
    checks: Matrix, left: Matrix, sizes: Matrix, rank: int, limit: float, width: int
) -> Sequence[int]:
    """The places of the nodes that explain the parities, by the cheapest way that finds them."""
    if rank == len(checks):
        raise Unexplained
    signal = left * sizes  # [D, .]: the parities but for a rotation
    span = left[:, :rank]
    bases = _bases(checks, width)
    most = (len(checks) + rank - 1) // 2 // width
    fewest = -(-rank // width)
    if fewest > most:
        raise Unexplained
    apart = np.linalg.norm(bases - span @ (span.T @ bases), axis=(1, 2))
    music = np.argsort(apart, kind="stable")[:fewest]
    if _explain(checks, music, signal, limit, width):
        return [int(i) for i in music]
    greedy = _greedy(checks, bases, span, signal, limit, width, most)
    if greedy is not None:
        return greedy
    for count in range(fewest, most + 1):
        if comb(len(bases), count) > MOST_CHOICES:
            break
        best = _best_of(checks, len(bases), count, signal, width)
        if _explain(checks, best, signal, limit, width):
            return best
    raise Unexplained


def _bases(checks: Matrix, width: int) -> Float64[np.ndarray, "nodes D width"]:
    """Orthonormal bases of the nodes' columns; zeros for a node that nothing checks."""
    columns = checks.reshape(len(checks), -1, width).transpose(1, 0, 2)
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left * (sizes > ROUNDING)[:, None, :])


def _explain(
    checks: Matrix, some: Sequence[int] | np.ndarray, signal: Matrix, limit: float, width: int
) -> bool:
    columns = [int(i) * width + row for i in some for row in range(width)]
    q, _ = np.linalg.qr(checks[:, columns])
    rest = signal - q @ (q.T @ signal)
    return bool(np.linalg.norm(rest, 2) <= 2 * limit)


def _best_of(checks: Matrix, nodes: int, count: int, signal: Matrix, width: int) -> tuple[int, ...]:
    """Of all sets of so many nodes that which leaves least of the parities."""
    every = list(combinations(range(nodes), count))
    best, least = every[0], np.inf
    for start in range(0, len(every), AT_ONCE):
        some = np.array(every[start : start + AT_ONCE])
        columns = (some[:, :, None] * width + np.arange(width)).reshape(len(some), -1)
        q, _ = np.linalg.qr(checks[:, columns].transpose(1, 0, 2))
        taken = np.square(q.transpose(0, 2, 1) @ signal).sum(axis=(1, 2))
        place = int(np.argmax(taken))
        left = float(np.square(signal).sum() - taken[place])
        if left < least:
            best, least = every[start + place], left
    return best


def _greedy(
    checks: Matrix, bases: np.ndarray, span: Matrix, signal: Matrix, limit: float, width: int,
    most: int,
) -> list[int] | None:  # fmt: skip
    """One node after the other: that whose columns are nearest to what is left of the span."""
    some: list[int] = []
    rest, free = span, bases
    for _ in range(most):
        q, sizes, _ = np.linalg.svd(rest, full_matrices=False)
        q = q[:, sizes > 1e-9]
        with np.errstate(invalid="ignore", divide="ignore"):
            near = np.linalg.norm(np.einsum("dr,ndw->nrw", q, free), axis=(1, 2))
            near /= np.linalg.norm(free, axis=(1, 2))
        near[some] = -1.0
        some.append(int(np.nanargmax(near)))
        if _explain(checks, some, signal, limit, width):
            return some
        columns = [i * width + row for i in some for row in range(width)]
        taken, _ = np.linalg.qr(checks[:, columns])
        rest = span - taken @ (taken.T @ span)
        free = bases - np.einsum("de,new->ndw", taken @ taken.T, bases)
    return None
