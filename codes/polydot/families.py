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

Mixes = NDArray[Any]  # float64, or complex128 for the family conj
Whole = NDArray[np.int_]
Powers = Callable[[int, Whole], Mixes]
FAMILIES = ("mono", "conj", "circle", "cheb", "rkrp")
# Points that are mirrored at the imaginary axis leave real parts that no parity of some nodes sees.
TURN = (np.sqrt(5) - 2) / 2
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


def scattered(nodes: int) -> Whole:
    """0 to nodes - 1 by their reversed bits: nodes that are next to each other, which fail together
    more often than others, do not stand on points that are."""
    bits = max(1, (nodes - 1).bit_length())
    turned = [int(f"{node:0{bits}b}"[::-1], 2) for node in range(2**bits)]
    return np.array([place for place in turned if place < nodes])


def angles(nodes: int, orders: Whole) -> NDArray[np.float64]:
    """pi (k + 1/2) / nodes times some orders, [nodes, *orders.shape], k scattered; reduced to one
    turn in whole numbers, so that no order costs precision."""
    odd = (2 * scattered(nodes) + 1).reshape(-1, *(1,) * orders.ndim)
    return np.asarray(np.pi * (odd * orders % (4 * nodes)) / (2 * nodes), np.float64)


def half_circle(nodes: int, exponents: Whole) -> Mixes:
    """Powers of exp(i pi (k + 1/2 + TURN) / nodes). On the whole circle half of the points would
    compute the others' conjugates."""
    return np.asarray(np.exp(1j * (angles(nodes, exponents) + np.pi * TURN * exponents / nodes)))


def segment(nodes: int, exponents: Whole) -> Mixes:
    """Powers of Chebyshev points of the first kind."""
    points = np.cos(angles(nodes, np.ones((1,) * exponents.ndim, int)))
    return np.asarray(points**exponents)


def chebyshev(nodes: int, orders: Whole) -> NDArray[np.float64]:
    """Chebyshev polynomials of some orders at Chebyshev points of the first kind."""
    return np.asarray(np.cos(angles(nodes, orders)))


def halved(nodes: int, count: int) -> NDArray[np.float64]:
    """T_0 ... T_(count - 1) with T_0 / 2, unless it is alone: then products T_j T_(count - 1 - j)
    have all the same share, 1/2, of T_(count - 1)."""
    values = chebyshev(nodes, np.arange(count))
    if count > 1:
        values[:, 0] = 0.5
    return values


def waves(nodes: int, count: int, times: int = 1) -> NDArray[np.float64]:
    """`codes.interpolation.Circle`'s basis of a dimension, at `times` the angles of evenly spaced
    points of the whole circle: as real as cosines are, and no point stands at an end. All rows have
    the norm sqrt(count / 2), and products of two functions the mean 1/2 if they are the same, else
    0."""
    halves = np.arange(1, count, 2) if count % 2 == 0 else np.arange(2, count, 2)
    turns = halves * times * scattered(nodes)[:, None] % (2 * nodes)
    constant = np.full((nodes, count % 2), np.sqrt(0.5))
    angle = np.pi * turns / nodes
    return np.concatenate([constant, np.cos(angle), np.sin(angle)], axis=1)


def unit(mixes: Mixes) -> tuple[Mixes, NDArray[np.float64]]:
    """Mixes with a norm of 1 for every node, and the norms that they had, [nodes]."""
    norms = np.sqrt((np.abs(mixes.reshape(len(mixes), -1)) ** 2).sum(axis=1))
    return mixes / norms.reshape(-1, *(1,) * (mixes.ndim - 1)), norms


def picked(places: NDArray[np.intp], count: int, times: float = 1.0) -> NDArray[np.float64]:
    """An extraction that takes single unknowns, [places, count]."""
    extraction = np.zeros((places.size, count))
    extraction[np.arange(places.size), places.ravel()] = times
    return extraction


def _aligned(powers: Powers, nodes: int, m: int, p: int, n: int) -> Mixing:
    """Garbage aligned: A_ij at exponent p i + j, B_kl at p - 1 - k + p m l, and so C_il at
    p i + p - 1 + p m l, where nothing else is."""
    rows, inner, columns = np.arange(m), np.arange(p), np.arange(n)
    of_a, size_a = unit(powers(nodes, p * rows[:, None] + inner))
    of_b, size_b = unit(powers(nodes, (p - 1 - inner)[:, None] + p * m * columns))
    count = unknowns("mono", m, p, n)
    generator = powers(nodes, np.arange(count)) / (size_a * size_b)[:, None]
    wanted = (p * rows)[:, None] + p - 1 + p * m * columns
    return Mixing(of_a, of_b, generator, picked(wanted, count))


def _outer(
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    inner: tuple[NDArray[np.float64], NDArray[np.float64]],
    products: NDArray[np.float64],
    wanted: tuple[int, float],
) -> Mixing:
    """Outer functions left_i and right_l of a node times inner ones, of A and of B, whose products
    are sums of 2 p - 1 functions: the unknowns are left_i right_l times these, and of each C_il one
    is wanted, so many times."""
    (nodes, m), n = left.shape, right.shape[1]
    of_a, size_a = unit(left[:, :, None] * inner[0][:, None, :])
    of_b, size_b = unit(inner[1][:, :, None] * right[:, None, :])
    width = products.shape[1]
    generator = np.einsum("bi,bl,bk->bilk", left, right, products).reshape(nodes, -1)
    extraction = picked(np.arange(m * n) * width + wanted[0], m * n * width, wanted[1])
    return Mixing(of_a, of_b, generator / (size_a * size_b)[:, None], extraction)


def _mono(m: int, p: int, n: int, nodes: int) -> Mixing:
    return _aligned(segment, nodes, m, p, n)


def _conj(m: int, p: int, n: int, nodes: int) -> Mixing:
    return _aligned(half_circle, nodes, m, p, n)


def _circle(m: int, p: int, n: int, nodes: int) -> Mixing:
    """A_ij at w_i(u) w_j(v), B_kl at w_k(v) w_l(m u), u = (2 p - 1) v, w waves: products have all
    frequencies once."""
    width = 2 * p - 1
    return _waved(waves(nodes, m, width), waves(nodes, n, width * m), p)


def _rkrp(m: int, p: int, n: int, nodes: int) -> Mixing:
    """Normal numbers for the outer functions."""
    rng = np.random.default_rng(SEED)
    return _waved(rng.standard_normal((nodes, m)), rng.standard_normal((nodes, n)), p)


def _waved(left: NDArray[np.float64], right: NDArray[np.float64], p: int) -> Mixing:
    """Waves inside: wanted is the mean of products, 1/2 sum_j A_ij B_jl, which is at sqrt(1/2)."""
    nodes = len(left)
    inner = waves(nodes, p)
    return _outer(left, right, (inner, inner), waves(nodes, 2 * p - 1), (0, float(np.sqrt(2))))


def _cheb(m: int, p: int, n: int, nodes: int) -> Mixing:
    """A_ij at T_i(u) T~_j(v), B_kl at T~_(p-1-k)(v) T_(m l)(u), u = T_(2p-1)(v)."""
    width = 2 * p - 1
    left = chebyshev(nodes, width * np.arange(m))
    right = chebyshev(nodes, width * m * np.arange(n))
    inner, products = halved(nodes, p), chebyshev(nodes, np.arange(width))
    return _outer(left, right, (inner, inner[:, ::-1]), products, (p - 1, 2.0 if p > 1 else 1.0))


_MIXINGS: dict[str, Callable[[int, int, int, int], Mixing]] = {
    "mono": _mono,
    "conj": _conj,
    "circle": _circle,
    "cheb": _cheb,
    "rkrp": _rkrp,
}
