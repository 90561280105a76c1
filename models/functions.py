"""Functions of a matrix as programs: determinant, dominant eigenvalue and eigenvector, exponential.

What approximate coded computation is tried on (`training.aicc`). Arguments are Wishart matrices
X = A A' / m, A [d, m] of independent standard normal entries, m = 2 d: eigenvalues around 1, and
well away from 0. A program gives a function in standard units, (f(X) - mean) / scale, so that its
answers are of order one and an answer of 0 is the mean: linear codes mix and estimate answers best
about their mean. Draws no matrices for anybody but `wishart`; keeps nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIZES = (4, 8)  # d
COLUMNS = 2  # m / d


def wishart(count: int, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Wishart matrices [count, 1, size, size], float32; from torch's global generator if None.

    Source: J. Wishart, "The generalised product moment distribution in samples from a normal
    multivariate population", Biometrika 20A, 1928.
    """
    columns = COLUMNS * size
    drawn = torch.randn(count, size, columns, generator=generator)
    return (drawn @ drawn.mT / columns).unsqueeze(1)


def determinant(matrices: Tensor) -> Tensor:
    """[b, d, d] to [b, 1]."""
    values: Tensor = torch.linalg.det(matrices)
    return values.unsqueeze(-1)


def eigenvalue(matrices: Tensor) -> Tensor:
    """The largest eigenvalue of symmetric matrices [b, d, d]: [b, 1]."""
    return _eigen(matrices)[0][:, -1:]


def eigenvector(matrices: Tensor) -> Tensor:
    """Its eigenvector [b, d], of norm 1, turned so that the sum of its entries is not negative.

    Any rule makes a jump somewhere; this one makes it on one plane, far from no entry's sign.
    """
    vectors = _eigen(matrices)[1][:, :, -1]
    return torch.where(vectors.sum(-1, keepdim=True) < 0, -vectors, vectors)


def exponential(matrices: Tensor) -> Tensor:
    """e^X of matrices [b, d, d], row by row: [b, d d]."""
    values: Tensor = torch.linalg.matrix_exp(matrices)
    return values.flatten(1)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "determinant": determinant,
    "eigenvalue": eigenvalue,
    "eigenvector": eigenvector,
    "exponential": exponential,
}
# Mean and scale (root of the mean variance of an entry), from 2^20 matrices; the mean is the same
# for every entry, and of the exponential on the diagonal only. The tests measure them again.
UNITS: dict[tuple[str, int], tuple[float, float]] = {
    ("determinant", 4): (0.41, 0.58),
    ("determinant", 8): (0.121, 0.187),
    ("eigenvalue", 4): (2.065, 0.608),
    ("eigenvalue", 8): (2.386, 0.413),
    ("eigenvector", 4): (0.212, 0.453),
    ("eigenvector", 8): (0.103, 0.338),
    ("exponential", 4): (4.06, 2.91),
    ("exponential", 8): (3.80, 1.436),
}


@dataclass(frozen=True)
class Target:
    """A function of matrices of one size.

    Args:
        function: determinant, eigenvalue, eigenvector or exponential.
        size: d of the matrices [d, d], 4 or 8.
    """

    function: str
    size: int

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(
                f"Argument 'function' must be one of {', '.join(FUNCTIONS)}, not {self.function!r}."
            )
        if self.size not in SIZES:
            raise ValueError(
                f"Argument 'size' must be one of {', '.join(map(str, SIZES))}, not {self.size!r}."
            )

    @property
    def name(self) -> str:
        """Of the model and of its data set."""
        return f"wishart-{self.size}-{self.function}"

    @property
    def units(self) -> tuple[float, float]:
        """Mean and scale: the function is scale times the answer plus mean."""
        return UNITS[self.function, self.size]

    @property
    def mean(self) -> Tensor:
        """Of every entry, [entries]."""
        mean, _ = self.units
        if self.function == "exponential":
            return mean * torch.eye(self.size).flatten()
        return torch.full((self.size if self.function == "eigenvector" else 1,), mean)


TARGETS = {
    target.name: target for size in SIZES for target in (Target(name, size) for name in FUNCTIONS)
}


class MatrixFunction(nn.Module):
    """A function in standard units; it has no weights to learn.

    Args:
        target: which one.
    """

    mean: Tensor

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._function = FUNCTIONS[target.function]
        self._scale = target.units[1]
        self.register_buffer("mean", target.mean)

    def forward(self, images: Tensor) -> Tensor:
        """[b, 1, d, d] to [b, entries]."""
        return (self._function(images.squeeze(1)) - self.mean) / self._scale


def _eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [b, d], ascending, and eigenvectors [b, d, d]; NaN where an entry is no number.

    LAPACK refuses a whole batch for one matrix with a NaN: others must not suffer for it.
    """
    blank = (matrices * 0).sum((1, 2))
    values, vectors = torch.linalg.eigh(torch.nan_to_num(matrices, 0.0, 0.0, 0.0))
    return values + blank[:, None], vectors + blank[:, None, None]
