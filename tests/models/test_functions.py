"""Functions of matrices: right by other routes, in standard units, and servable."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from models import data
from models.functions import (
    FUNCTIONS,
    TARGETS,
    MatrixFunction,
    Target,
    determinant,
    eigenvalue,
    eigenvector,
    exponential,
    wishart,
)
from models.programs import export_program, load_program

COUNT = 20_000


def drawn(count: int, size: int) -> torch.Tensor:
    return wishart(count, size, torch.Generator().manual_seed(0)).squeeze(1)


def leibniz(matrix: np.ndarray) -> float:
    """A determinant as the sum over permutations."""
    size = len(matrix)
    total = 0.0
    for order in permutations(range(size)):
        odd = sum(order[i] > order[j] for j in range(size) for i in range(j))
        total += (-1) ** odd * math.prod(float(matrix[i, order[i]]) for i in range(size))
    return total


def test_determinants_are_the_sums_over_permutations() -> None:
    matrices = drawn(5, 4)
    wanted = [leibniz(matrix.numpy()) for matrix in matrices]
    assert determinant(matrices).flatten().tolist() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("size", [4, 8])
def test_the_dominant_pair_is_an_eigenpair(size: int) -> None:
    """X v = l v, |v| = 1, l the 2-norm, and v's entries add up to no less than 0."""
    matrices = drawn(200, size)
    values, vectors = eigenvalue(matrices), eigenvector(matrices)
    images = (matrices @ vectors.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(images, values * vectors, atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(200))
    norms = np.linalg.norm(matrices.numpy(), 2, axis=(1, 2))
    assert torch.allclose(values.flatten(), torch.from_numpy(norms), atol=1e-5)
    assert bool((vectors.sum(1) >= 0).all())


def test_exponentials_are_the_power_series() -> None:
    matrices = drawn(50, 4).double()
    term = total = torch.eye(4, dtype=torch.float64).expand(50, 4, 4)
    for power in range(1, 60):
        term = term @ matrices / power
        total = total + term
    assert torch.allclose(exponential(matrices.float()).double(), total.flatten(1), rtol=1e-4)
    diagonal = torch.diag(torch.tensor([0.0, math.log(2)]))[None]
    assert exponential(diagonal).tolist() == [pytest.approx([1, 0, 0, 2])]


@pytest.mark.parametrize("name", TARGETS)
def test_answers_are_in_standard_units(name: str) -> None:
    """Mean 0 and variance 1, within five deviations of what 20,000 matrices tell."""
    target = TARGETS[name]
    answers = MatrixFunction(target)(drawn(COUNT, target.size).unsqueeze(1))
    assert answers.shape == (COUNT, len(target.mean))
    slack = 5 / math.sqrt(COUNT)
    assert float(answers.mean(0).abs().max()) < 0.01 + slack * 2
    squares = answers.square().mean(1)
    assert abs(float(squares.mean()) - 1) < 0.02 + slack * float(squares.std())


@pytest.mark.parametrize("size", [4, 8])
def test_determinants_have_the_known_moments(size: int) -> None:
    """det(m X) is a product of independent chi-squares of m, m - 1, ... degrees of freedom."""
    columns = 2 * size
    degrees = [columns - i for i in range(size)]
    mean = math.prod(degrees) / columns**size
    spread = mean * math.sqrt(math.prod(d + 2 for d in degrees) / math.prod(degrees) - 1)
    assert Target("determinant", size).units == pytest.approx((mean, spread), rel=0.005)


@pytest.mark.parametrize("name", TARGETS)
def test_programs_are_the_functions(name: str) -> None:
    """Also where one query of a batch is no number: the others are answered."""
    target = TARGETS[name]
    function = MatrixFunction(target)
    queries = drawn(6, target.size).unsqueeze(1)
    program = load_program(export_program(function, queries[:1]))
    assert torch.allclose(program([queries])[0], function(queries), atol=1e-5)
    queries[2, 0, 0, 1] = queries[2, 0, 1, 0] = float("nan")
    answers = program([queries])[0]
    assert answers.isnan().any(1).tolist() == [False, False, True, False, False, False]


def test_data_sets_have_the_values_as_targets() -> None:
    """Splits share no matrix, and all functions of a size have the same ones."""
    parts = [data.load("wishart-4-eigenvalue", part) for part in ("train", "test")]  # type: ignore[arg-type]
    assert [len(part.images) for part in parts] == [20_000, 5_000]
    for part in parts:
        assert not part.is_labelled
        assert part.targets is not None
        function = MatrixFunction(TARGETS[part.name])
        assert torch.allclose(part.targets, function(part.images), atol=1e-5)
    train, test = ({tuple(row) for row in part.images.flatten(1).tolist()} for part in parts)
    assert not train & test
    same = data.load("wishart-4-determinant", "test")
    assert torch.equal(same.images, parts[1].images)
    some = parts[1].take(torch.tensor([3, 1]))
    assert some.targets is not None
    assert torch.equal(some.targets, parts[1].targets[[3, 1]])  # type: ignore[index]


@pytest.mark.parametrize(
    ("function", "size", "says"),
    [("trace", 4, "'function' must be one of determinant"), ("determinant", 5, "'size'.*not 5")],
)
def test_other_functions_and_sizes_are_refused(function: str, size: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Target(function, size)


def test_unknown_names_are_refused() -> None:
    assert "determinant" in FUNCTIONS
    with pytest.raises(data.DataError, match="Did you mean 'wishart-4-determinant'"):
        data.load("wishart-4-determinants")
