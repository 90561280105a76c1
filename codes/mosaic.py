"""Parity models on mosaics: the k queries, made small, side by side in one image."""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from codes.base import Matrix
from codes.checks import check_choice, check_size
from codes.exact_case import ExactCase
from codes.linear import HALF, LeastSquares
from codes.parity import check_weights, ideal_parities, parity_roles, systematic_rows

ANSWERS = ("sum", "each")


def mosaic(queries: Tensor, turn: int = 0) -> Tensor:
    """k images in a grid of ceil(k / ceil(sqrt k)) rows by ceil(sqrt k), each averaged over areas.

    k = 2 are two halves side by side, 4 are quadrants; 3 leave a quadrant empty.

    Args:
        queries: [g, k, c, h, w], h and w at least the grid's sides.
        turn: query j goes into cell j + turn, counted around the grid.

    Returns:
        [g, c, h, w] of the same dtype; half precision averages in float32.
    """
    groups, k, channels, height, width = queries.shape
    across = ceil(sqrt(k))
    down = ceil(k / across)
    if height < down or width < across:
        raise ValueError(
            f"Argument 'queries' must be images of at least {down} x {across} pixels for a mosaic "
            f"of k = {k}, not {height} x {width}."
        )
    dtype = torch.float32 if queries.dtype in HALF else queries.dtype
    made = queries.new_zeros((groups, channels, height, width), dtype=dtype)
    rows = [height * i // down for i in range(down + 1)]
    columns = [width * i // across for i in range(across + 1)]
    for j in range(k):
        row, column = divmod((j + turn) % (down * across), across)
        top, bottom = rows[row], rows[row + 1]
        left, right = columns[column], columns[column + 1]
        small = adaptive_avg_pool2d(queries[:, j].to(dtype), (bottom - top, right - left))
        made[:, :, top:bottom, left:right] = small
    return made.to(queries.dtype)


@final
@dataclass(frozen=True)
class Mosaic(LeastSquares):
    """Parity models that see all queries of a group, small, in one image; approximate.

    Group: q = k images. Roles: "base" for the queries, "parity-i" for the others. Threshold: k.
    Exact case: any program, if the parity models do what they are trained for.
    Encode: shard j = x_j for j < k; shard k + i = the mosaic, query j in cell j + i.
    Decode: answers "sum": a parity returns sum_j weights[i, j] y_j; least squares over the
    responders' rows. Answers "each": a parity returns estimates of all k answers, and a lost one
    is the mean of its estimates; any parity that responds gives all.
    Cost: encode r k |x| additions, decode as a parity's; worker 1x; payload 1x.
    Source: [kosaian2019], where it is named concatenation, for k = 2 and 4 and r = 1.
    Deviates: any k; r > 1; the answers "each".

    Args:
        k: images in a group, 1 to 256.
        n: slots, k to 256; r = n - k of them are parities.
        answers: "sum" or "each".
        weights: of the sums: "average" (at most 4 parities), "sum" (at most 1) or "cauchy".
    """

    name: ClassVar[str] = "mosaic"
    summary: ClassVar[str] = "systematic; parity models that see the queries side by side"
    source: ClassVar[str] = "kosaian2019"
    exact: ClassVar[bool] = False

    k: int
    n: int
    answers: str = "sum"
    weights: str = "average"

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k, "k")
        check_choice("answers", self.answers, ANSWERS)
        check_weights(self.weights, self.k, self.n)

    @property
    def recovery_threshold(self) -> int:
        """As many slots as there are queries."""
        return self.k

    @property
    def roles(self) -> tuple[str, ...]:
        """ "base" for the queries, a role for each parity."""
        return parity_roles(self.k, self.n)

    @property
    def widths(self) -> tuple[int, ...]:
        """A parity returns one row, or k with answers "each"."""
        width = self.k if self.answers == "each" else 0
        return (0,) * self.k + (width,) * (self.n - self.k)

    @property
    def exact_case(self) -> ExactCase:
        """Any program, with ideal parity models."""
        return ideal_parities(self.k)

    @property
    def query_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Images only."""
        return ((1, 16, 16), (3, 17, 18))

    def _responses(self) -> Matrix:
        if self.answers == "each":
            return np.vstack([np.eye(self.k)] * (1 + self.n - self.k))
        return systematic_rows(self.weights, self.k, self.n)

    def _encode(self, queries: Tensor) -> list[Tensor]:
        if queries.ndim != 5:
            raise ValueError(
                f"Argument 'queries' must be images [g, q, c, h, w], not {list(queries.shape)}."
            )
        own = queries.transpose(0, 1).contiguous().unbind(0)
        return [*own, *(mosaic(queries, i) for i in range(self.n - self.k))]
