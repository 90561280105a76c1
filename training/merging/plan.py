"""What a merge is asked for: the method, the weights of each coded model, and inputs to go by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codes.checks import check_choice
from codes.coin import DECODINGS, vandermonde_rows

COIN, AVERAGE, FISHER, REGMEAN, DISTILL = "coin", "average", "fisher-merge", "regmean", "distill"
METHODS = (COIN, AVERAGE, FISHER, REGMEAN, DISTILL)
POSITIVE = (COIN, FISHER, REGMEAN)  # with weights below 0 their objective has no minimum
HELD = 4  # one of so many inputs is held back: to choose the damping by, and to report on
FEWEST_INPUTS = 16
# inf is the plain average, which another must be better than beyond chance.
DAMPINGS = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e3, math.inf)
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class MergePlan:
    """How to merge.

    Attributes:
        method: coin, average, fisher-merge, regmean or distill.
        r: coded models.
        rows: r rows of weights, one a model; each is scaled to sum 1, which changes no decoded
            answer. Default: `codes.coin.vandermonde_rows`.
        decoding: fixed or fitted, as of `codes.coin.Coin`.
        samples: inputs that Fisher information is a mean over.
        begin: for distill: the method whose outcome it begins with.
        steps: for distill: of Adam.
        limit: a coded model whose error is a larger share of its target's variance is refused.
        seed: of the order of the inputs.
        dampings: of coin: those that are tried.
    """

    method: str = COIN
    r: int = 1
    rows: Rows | None = None
    decoding: str = "fitted"
    samples: int = 128
    begin: str = COIN
    steps: int = 100
    limit: float = 0.5
    seed: int = 0
    dampings: tuple[float, ...] = DAMPINGS

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("begin", self.begin, [name for name in METHODS if name != DISTILL])
        check_choice("decoder", self.decoding, DECODINGS)
        for name in ("r", "samples", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Argument {name!r} must be at least 1, not {getattr(self, name)}."
                )
        if not self.limit > 0:
            raise ValueError(f"Argument 'limit' must be above 0, not {self.limit}.")

    @property
    def first(self) -> str:
        """The method in closed form: itself, or what a distillation begins with."""
        return self.begin if self.method == DISTILL else self.method

    def rows_for(self, models: int) -> Rows:
        """The rows, of sum 1 each.

        Raises:
            ValueError: another number of rows or weights, a row of sum 0, or a weight below 0
                where the method takes none.
        """
        if self.rows is None:
            return tuple(map(tuple, vandermonde_rows(models, self.r).tolist()))
        if len(self.rows) != self.r or any(len(row) != models for row in self.rows):
            raise ValueError(
                f"Argument 'weights' must be r = {self.r} rows of {models} weights, one a model, "
                f"not {[list(row) for row in self.rows]}."
            )
        for row in self.rows:
            if not all(map(math.isfinite, row)) or abs(sum(row)) < 1e-6 * max(map(abs, row)):
                raise ValueError(
                    f"Argument 'weights' must have rows of a sum other than 0, not {list(row)}."
                )
            if self.first in POSITIVE and min(weight / sum(row) for weight in row) < 0:
                raise ValueError(
                    f"Argument 'weights' must not be below 0 with method {self.first!r}, whose "
                    f"objective then has no minimum, not {list(row)}: average and a distillation "
                    f"from it take such weights."
                )
        return tuple(tuple(weight / sum(row) for weight in row) for row in self.rows)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Calibration inputs without labels, of all models' queries in equal parts and random order.

    Attributes:
        names: where they come from.
        build: to merge and fit by.
        held: to choose and report by.
        own: of each model, its own queries; none where they are not told apart.
    """

    names: tuple[str, ...]
    build: Tensor
    held: Tensor
    own: tuple[Tensor, ...] = ()

    @property
    def whole(self) -> Tensor:
        """All."""
        return torch.cat([self.build, self.held])


def mixed(
    names: Sequence[str],
    parts: Sequence[Tensor],
    most: int,
    seed: int,
    models: int,
    *,
    shared: bool = False,
) -> Inputs:
    """Mix inputs from several places.

    Args:
        names: of the places.
        parts: [m, ...] each, of one shape. As many as models: then each is one model's own.
        most: inputs in all; the same number of each part.
        seed: of choice and order.
        models: how many there are.
        shared: all inputs are every model's own.

    Raises:
        ValueError: too few, of other shapes, or not finite.
    """
    shapes = [tuple(part.shape[1:]) for part in parts]
    if len(set(shapes)) != 1:
        raise ValueError(
            f"Calibration inputs must be of one shape: {names[0]} has {list(shapes[0])}, and "
            + ", ".join(f"{n} {list(s)}" for n, s in zip(names[1:], shapes[1:], strict=True))
            + "."
        )
    order = torch.Generator().manual_seed(seed)
    count = min(most // len(parts), *(len(part) for part in parts))
    chosen = [part[torch.randperm(len(part), generator=order)[:count]] for part in parts]
    whole = torch.cat(chosen)
    if len(whole) < FEWEST_INPUTS:
        raise ValueError(
            f"At least {FEWEST_INPUTS} calibration inputs are needed, not {len(whole)}."
        )
    if whole.is_floating_point() and not torch.isfinite(whole).all():
        raise ValueError("Calibration inputs must be finite.")
    place = torch.randperm(len(whole), generator=order)
    held = place[: len(place) // HELD]
    build = place[len(place) // HELD :]
    own: tuple[Tensor, ...] = (whole[build],) * models if shared else ()
    if len(parts) == models:
        source = torch.arange(len(parts)).repeat_interleave(count)[build]
        own = tuple(whole[build[source == i]] for i in range(models))
    return Inputs(tuple(names), whole[build], whole[held], own)
