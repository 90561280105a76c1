"""Where nodes stand, and by what they mix blocks: the families of Generalized PolyDot codes.

A product C = A B of an m x p grid of blocks and a p x n one is the coefficients of a polynomial, of
which every node knows one value: of each operand it has a mix of the blocks, and multiplies the
two. A `Mixing` says with which numbers nodes mix, and what of all the products they can make is
found in their answers. Rows of mixes are scaled to norm 1, so that all nodes round alike. Pure
NumPy in float64; `codes.polydot.product` applies it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codes.interpolation import first

Mixes = NDArray[Any]  # float64, or complex128 for the family conj
FAMILIES = ("mono", "conj", "cheb", "rkrp")
SEED = 7  # of rkrp: of all who share a code, the same


@dataclass(frozen=True)
class Mixing:
    """How nodes mix the blocks of two operands, and what their answers are made of.

    Attributes:
        of_a: [nodes, m, p], rows of norm 1; complex for the family conj.
        of_b: [nodes, p, n], the same.
        generator: [nodes, unknowns]; an answer is this row times the unknown products.
        extraction: [m n, unknowns]; block (i, l) of C is row i n + l times the unknown products.
    """

    of_a: Mixes
    of_b: Mixes
    generator: Mixes
    extraction: NDArray[np.float64]


def mixing(family: str, m: int, p: int, n: int, nodes: int) -> Mixing:
    """The numbers of a family.

    Args:
        family: of `FAMILIES`.
        m, p, n: blocks of A's rows, of the inner dimension, and of B's columns.
        nodes: how many.
    """
    return _MIXINGS[family](m, p, n, nodes)


def unknowns(family: str, m: int, p: int, n: int) -> int:
    """K, the number of unknown products, which is that of real rows that are needed: p m n + p - 1
    with garbage aligned, m n (2 p - 1) without."""
    return p * m * n + p - 1 if family in ("mono", "conj") else m * n * (2 * p - 1)


def half_circle(nodes: int) -> NDArray[np.complex128]:
    """exp(i pi (k + 1/2) / nodes), scattered. Of the whole circle, half of the points would compute
    the others' conjugates."""
    return np.asarray(np.exp(1j * np.pi * (scattered(nodes) + 0.5) / nodes), np.complex128)


def segment(nodes: int) -> NDArray[np.float64]:
    """Chebyshev points of the first kind, scattered."""
    return first(nodes)[scattered(nodes)]


def scattered(nodes: int) -> NDArray[np.intp]:
    """0 to nodes - 1 by their reversed bits: nodes that are next to each other, which fail together
    more often than others, do not stand on points that are."""
    bits = max(1, (nodes - 1).bit_length())
    turned = [int(f"{node:0{bits}b}"[::-1], 2) for node in range(2**bits)]
    return np.array([place for place in turned if place < nodes])


def chebyshev(count: int, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """T_0 ... T_(count - 1) at points of [-1, 1], [points, count]."""
    return np.asarray(np.cos(np.arange(count) * np.arccos(np.clip(at, -1, 1))[:, None]))


def halved(count: int, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same with T_0 / 2, unless it is alone: then products T_j T_(count - 1 - j) have all the
    same share, 1/2, of T_(count - 1)."""
    values = chebyshev(count, at)
    if count > 1:
        values[:, 0] = 0.5
    return values


def unit(mixes: Mixes) -> tuple[Mixes, NDArray[np.float64]]:
    """Mixes with a norm of 1 for every node, and the norms that they had, [nodes]."""
    norms = np.sqrt((np.abs(mixes.reshape(len(mixes), -1)) ** 2).sum(axis=1))
    return mixes / norms.reshape(-1, *(1,) * (mixes.ndim - 1)), norms


def powers(points: Mixes, exponents: NDArray[np.intp]) -> Mixes:
    """points[i] to each of some exponents, [nodes, *exponents.shape]."""
    return np.asarray(points.reshape(-1, *(1,) * exponents.ndim) ** exponents)


def picked(places: NDArray[np.intp], count: int, times: float = 1.0) -> NDArray[np.float64]:
    """An extraction that takes single unknowns, [places, count]."""
    extraction = np.zeros((places.size, count))
    extraction[np.arange(places.size), places.ravel()] = times
    return extraction


def _aligned(points: Mixes, m: int, p: int, n: int) -> Mixing:
    """Garbage aligned: A_ij at exponent p i + j, B_kl at p - 1 - k + p m l, and so C_il at
    p i + p - 1 + p m l, where nothing else is."""
    i, j, l = np.arange(m), np.arange(p), np.arange(n)  # noqa: E741 - as in the equations
    of_a, size_a = unit(powers(points, p * i[:, None] + j))
    of_b, size_b = unit(powers(points, (p - 1 - j)[:, None] + p * m * l))
    count = unknowns("mono", m, p, n)
    generator = powers(points, np.arange(count)) / (size_a * size_b)[:, None]
    wanted = (p * i)[:, None] + p - 1 + p * m * l
    return Mixing(of_a, of_b, generator, picked(wanted, count))


def _outer(
    left: NDArray[np.float64], right: NDArray[np.float64], inner: NDArray[np.float64], p: int
) -> Mixing:
    """Outer functions left_i and right_l of a node times inner Chebyshev ones of its point: the
    unknowns are left_i right_l T_k, k <= 2 p - 2, and C_il has k = p - 1."""
    m, n = left.shape[1], right.shape[1]
    rising = halved(p, inner)
    of_a, size_a = unit(left[:, :, None] * rising[:, None, :])
    of_b, size_b = unit(rising[:, ::-1, None] * right[:, None, :])
    width = 2 * p - 1
    products = np.einsum("bi,bl,bk->bilk", left, right, chebyshev(width, inner))
    generator = products.reshape(len(inner), -1) / (size_a * size_b)[:, None]
    wanted = np.arange(m * n) * width + p - 1
    return Mixing(of_a, of_b, generator, picked(wanted, m * n * width, 2.0 if p > 1 else 1.0))


def _mono(m: int, p: int, n: int, nodes: int) -> Mixing:
    return _aligned(segment(nodes), m, p, n)


def _conj(m: int, p: int, n: int, nodes: int) -> Mixing:
    return _aligned(half_circle(nodes), m, p, n)


def _cheb(m: int, p: int, n: int, nodes: int) -> Mixing:
    """A_ij at T_i(u) T_j(v), B_kl at T_(p-1-k)(v) T_(m l)(u), u = T_(2p-1)(v)."""
    inner = segment(nodes)
    waves = chebyshev(m * (n - 1) + 1, chebyshev(2 * p, inner)[:, 2 * p - 1])
    return _outer(chebyshev(m, chebyshev(2 * p, inner)[:, 2 * p - 1]), waves[:, ::m], inner, p)


def _rkrp(m: int, p: int, n: int, nodes: int) -> Mixing:
    """Normal numbers for the outer functions."""
    rng = np.random.default_rng(SEED)
    left, right = rng.standard_normal((nodes, m)), rng.standard_normal((nodes, n))
    return _outer(left, right, segment(nodes), p)


_MIXINGS: dict[str, Callable[[int, int, int, int], Mixing]] = {
    "mono": _mono,
    "conj": _conj,
    "cheb": _cheb,
    "rkrp": _rkrp,
}
