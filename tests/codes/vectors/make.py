"""Makes the reference vectors beside it, by other means than the codes use.

Berrut: exact rational arithmetic on the points as stored in float64. Spline: SciPy's smoothing and
cubic splines. Parity, COIN: exact rational elimination. Lagrange: products of sines of half
angles. Run `python tests/codes/vectors/make.py`; the files are committed.
"""

import json
import math
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline, make_smoothing_spline

HERE = Path(__file__).parent


def cosine(numerator: int, denominator: int) -> float:
    """cos(pi numerator / denominator)."""
    return math.cos(numerator * math.pi / denominator)


def berrut(at: list[float], nodes: list[float]) -> list[list[float]]:
    rows = []
    for z in map(Fraction, at):
        terms = [Fraction((-1) ** j) / (z - Fraction(x)) for j, x in enumerate(nodes)]
        rows.append([float(term / sum(terms)) for term in terms])
    return rows


def berrut_file() -> dict[str, object]:
    k, n = 4, 6
    queries = [cosine(2 * j + 1, 2 * k) for j in range(k)]
    slots = [cosine(2 * i + 1, 2 * n) for i in range(n)]
    sets = [[0, 1, 2, 3, 4, 5], [0, 2, 3, 5], [1, 4], [3]]
    return {
        "code": {"k": k, "n": n},
        "generator": berrut(slots, queries),
        "decoders": [[s, berrut(queries, [slots[i] for i in s])] for s in sets],
    }


def spline_file() -> dict[str, object]:
    k, n, lambda_d = 4, 7, 1e-3  # no slot sits on a query: its result would be copied
    queries = np.array([cosine(2 * j + 1, 2 * k) for j in range(k)])
    slots = np.array([cosine(i, n - 1) for i in range(n)])
    # The encoder's ends lie outside its knots, where a natural spline goes on as a line.
    natural = CubicSpline(queries[::-1], np.eye(k)[::-1], bc_type="natural")
    inside = np.clip(slots, queries[-1], queries[0])
    generator = natural(inside) + (slots - inside)[:, None] * natural(inside, 1)
    decoders = []
    for chosen in ([0, 1, 2, 3, 4, 5, 6], [0, 1, 3, 4, 6], [0, 2, 3, 5, 6]):
        x = slots[chosen][::-1]
        columns = []
        for i in range(len(chosen)):
            unit = np.eye(len(chosen))[i][::-1]
            columns.append(make_smoothing_spline(x, unit, lam=len(chosen) * lambda_d)(queries))
        decoders.append([chosen, np.transpose(columns).tolist()])
    return {
        "code": {"k": k, "n": n, "lambda_e": 0.0, "lambda_d": lambda_d},
        "generator": generator.tolist(),
        "decoders": decoders,
    }


def solve(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """The inverse, by elimination."""
    size = len(rows)
    table = [[*row, *(Fraction(int(i == j)) for j in range(size))] for i, row in enumerate(rows)]
    for i in range(size):
        pivot = next(r for r in range(i, size) if table[r][i])
        table[i], table[pivot] = table[pivot], table[i]
        table[i] = [value / table[i][i] for value in table[i]]
        for r in range(size):
            if r != i:
                table[r] = [a - table[r][i] * b for a, b in zip(table[r], table[i], strict=True)]
    return [row[size:] for row in table]


def parity_file() -> dict[str, object]:
    k, n = 4, 7
    at = [Fraction(2 * j + 1, 2 * k) for j in range(k)]
    rows = [[Fraction(int(i == j)) for j in range(k)] for i in range(k)]
    for i in range(n - k):
        weights = [comb(n - k - 1, i) * t**i * (1 - t) ** (n - k - 1 - i) for t in at]
        rows.append([weight / sum(weights) for weight in weights])
    decoders = []
    for chosen in ([0, 1, 2, 4], [0, 3, 5, 6], [2, 4, 5, 6]):
        inverse = solve([rows[slot] for slot in chosen])
        decoders.append([chosen, [[float(value) for value in row] for row in inverse]])
    return {
        "code": {"k": k, "n": n},
        "generator": [[float(value) for value in row] for row in rows],
        "decoders": decoders,
    }


def coin_file() -> dict[str, object]:
    k, n = 3, 5
    rows = [[Fraction(int(i == j)) for j in range(k)] for i in range(k)]
    rows += [[Fraction(j**i, sum(m**i for m in range(1, k + 1))) for j in range(1, k + 1)]
             for i in range(n - k)]  # fmt: skip
    decoders = []
    for chosen in ([0, 1, 3], [1, 2, 4], [0, 3, 4], [2, 3, 4]):
        inverse = solve([rows[slot] for slot in chosen])
        decoders.append([chosen, [[float(value) for value in row] for row in inverse]])
    return {
        "code": {"k": k, "n": n},
        "generator": [[float(value) for value in row] for row in rows],
        "decoders": decoders,
    }


def cardinals(at: list[float], nodes: list[float]) -> list[list[float]]:
    """Trigonometric functions that are 1 at one node and 0 at the others."""
    return [
        [
            math.prod(math.sin((z - x) / 2) / math.sin((y - x) / 2) for x in nodes if x != y)
            for y in nodes
        ]
        for z in at
    ]


def lagrange_file() -> dict[str, object]:
    k, n, degree = 4, 10, 2
    # A fifth point, at which the interpolant is 0: on four the circle has no constants.
    through = [2 * math.pi * (j + 0.5) / (k + 1) for j in range(k + 1)]
    slots = [2 * math.pi * i / n for i in range(n)]
    sets = [[slot for slot in range(n) if slot != lost] for lost in (0, 4)]
    return {
        "code": {"k": k, "n": n, "degree": degree},
        "generator": [row[:k] for row in cardinals(slots, through)],
        "decoders": [[s, cardinals(through[:k], [slots[i] for i in s])] for s in sets],
    }


def split_lagrange_file() -> dict[str, object]:
    k, n = 4, 7
    through = [2 * math.pi * (j + 0.5) / k for j in range(k)]
    slots = [2 * math.pi * (i + 0.25) / n for i in range(n)]
    sets = [[0, 2, 3, 5], [1, 3, 4, 6]]
    return {
        "code": {"k": k, "n": n, "offset": 0.25},
        "generator": cardinals(slots, through),
        "decoders": [[s, cardinals(through, [slots[i] for i in s])] for s in sets],
    }


if __name__ == "__main__":
    for name, vectors in (
        ("berrut", berrut_file()),
        ("spline", spline_file()),
        ("parity", parity_file()),
        ("coin", coin_file()),
        ("lagrange", lagrange_file()),
        ("split-lagrange", split_lagrange_file()),
    ):
        text = json.dumps(vectors, indent=1)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
