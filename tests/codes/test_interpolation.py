"""Interpolation: bases whose products close, encodings of norm 1, decoders that do not break."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from codes.interpolation import CURVES, Circle, decoding_matrix, encoding_matrix
from codes.lagrange import Lagrange
from codes.verify import program_error

SIZES = [(1, 3), (2, 5), (3, 7), (4, 8), (5, 9), (8, 16), (16, 31)]


@pytest.mark.parametrize(("k", "n"), SIZES)
@pytest.mark.parametrize("name", CURVES)
def test_the_encoding_at_the_query_points_is_the_identity(name: str, k: int, n: int) -> None:
    curve = CURVES[name]
    queries = curve.query_points(k)
    assert np.array_equal(encoding_matrix(curve, queries, queries), np.eye(k))
    matrix = encoding_matrix(curve, queries, curve.slot_points(n))
    if name == "circle":
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-12)
    sets = itertools.islice(itertools.combinations(range(n), k), 200)
    assert all(np.linalg.matrix_rank(matrix[list(chosen)]) == k for chosen in sets)


def test_twice_as_many_slots_as_queries_have_the_queries_among_them() -> None:
    for k in (3, 4, 8):
        circle = Circle()
        matrix = encoding_matrix(circle, circle.query_points(k), circle.slot_points(2 * k))
        assert np.array_equal(matrix[1::2], np.eye(k))


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("k", "degree"), [(3, 2), (4, 2), (5, 3), (8, 2), (16, 2), (4, 3)])
def test_powers_are_exact_from_r_slots_and_not_from_one_fewer(
    name: str, k: int, degree: int
) -> None:
    """float64; random sets of R of R + 4 slots."""
    curve, needed = CURVES[name], (k - 1) * degree + 1
    rng = np.random.default_rng(0)
    queries, slots = curve.query_points(k), curve.slot_points(needed + 4)
    x = rng.standard_normal((k, 5))
    y = (encoding_matrix(curve, queries, slots) @ x) ** degree
    for count in (needed, needed + 2):
        for _ in range(10):
            chosen = np.sort(rng.choice(len(slots), count, replace=False))
            decoder = decoding_matrix(curve, needed, slots[chosen], queries)
            np.testing.assert_allclose(decoder @ y[chosen], x**degree, atol=1e-6)
    chosen = np.sort(rng.choice(len(slots), needed - 1, replace=False))
    decoder = decoding_matrix(curve, needed - 1, slots[chosen], queries)
    assert np.abs(decoder @ y[chosen] - x**degree).max() > 0.1


def test_a_bias_needs_constants_which_an_even_circle_has_not() -> None:
    """x + 1 on four queries: exact through a fifth point, and not without."""
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    for code, is_right in ((Lagrange(4, 6), True), (Lagrange(4, 6, homogeneous=True), False)):
        results = [shard + 1 for shard in code.encode(x)]
        decoded = code.decode(results[1:], list(range(1, 6)))
        assert torch.allclose(decoded, x + 1, atol=1e-5) is is_right
    assert Lagrange(4, 6).recovery_threshold == 5
    assert Lagrange(4, 6, homogeneous=True).recovery_threshold == 4
    assert Lagrange(5, 6).recovery_threshold == 5


def test_fewer_than_the_dimension_give_the_least_norm() -> None:
    circle = Circle()
    queries, slots = circle.query_points(4), circle.slot_points(8)[[0, 3]]
    decoder = decoding_matrix(circle, 4, slots, queries)
    frame = circle.basis(4, slots)
    expected = circle.basis(4, queries) @ np.linalg.pinv(frame)
    np.testing.assert_allclose(decoder, expected, atol=1e-12)


def test_repeated_singular_values_do_no_harm() -> None:
    """K = 4, N = 6, offset 1/4, slot 2 missing: LAPACK's SVD was seen not to converge on it."""
    circle = Circle(offset=0.25)
    queries, slots = circle.query_points(4), circle.slot_points(6)[[0, 1, 3, 4, 5]]
    decoder = decoding_matrix(circle, 4, slots, queries)
    np.testing.assert_allclose(
        decoder @ encoding_matrix(circle, queries, slots), np.eye(4), atol=1e-12
    )


def test_gains_are_those_that_were_derived() -> None:
    """Mean and worst over all sets of 4 of 6 slots, linear programs; Chebyshev points are worse."""
    for points, mean, worst in (("circle", 2.28, 3.69), ("first", 4.97, 20.0)):
        code = Lagrange(4, 6, points=points, homogeneous=True)
        sets = list(itertools.combinations(range(6), 4))
        gains = [np.linalg.norm(code.decoder(chosen), axis=1).max() for chosen in sets]
        assert np.mean(gains) == pytest.approx(mean, rel=0.02)
        assert max(gains) == pytest.approx(worst, rel=0.02)


def test_single_precision_workers_are_exact_enough() -> None:
    """K = 16, degree 2, random sets of R of R + 4: relative error at most 1e-5."""
    code = Lagrange(16, 35, degree=2, homogeneous=True)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((4, 16, 50))).float()
    results = [shard**2 for shard in code.encode(x)]
    worst = 0.0
    for _ in range(50):
        chosen = sorted(rng.choice(35, code.recovery_threshold, replace=False).tolist())
        decoded = code.decode([results[slot] for slot in chosen], chosen)
        error = (decoded - x**2).norm() / (x**2).norm()
        worst = max(worst, float(error))
    assert worst <= 1e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 4, "n": 8, "degree": 3}, "'n' must be at least R of k = 4 and degree = 3 = 13"),
        ({"k": 4, "n": 8, "degree": 0}, r"'degree' must be a whole number in 1\.\.16, not 0"),
        ({"k": 4, "n": 8, "points": "square"}, "'points' must be one of circle, first, second"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lagrange(**settings)


def test_what_is_no_polynomial_of_the_degree_is_noticed() -> None:
    """Exact at degree 2 is what is quadratic or less, biases and all; not a cubic, nor a ReLU."""
    weights = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))

    def of_degree(degree: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: (x @ weights) ** degree + 0.3 * (x @ weights) + 1

    code = Lagrange(4, 11, degree=2)
    assert program_error(code, of_degree(1), (6,)) < 1e-4
    assert program_error(code, of_degree(2), (6,)) < 1e-4
    assert program_error(code, of_degree(3), (6,)) > 1e-2
    assert program_error(code, lambda x: torch.relu(x @ weights), (6,)) > 1e-2
    assert program_error(Lagrange(4, 11, degree=2, homogeneous=True), of_degree(2), (6,)) > 1e-2
