"""No redundancy: each slot holds one query."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from codes.base import Matrix
from codes.checks import check_size
from codes.linear import LinearCode


@final
@dataclass(frozen=True)
class Uncoded(LinearCode):
    """No redundancy, exact: every slot is needed. The floor that a code is compared with.

    Group: q = k queries. Roles: all "base". Threshold: n = k.
    Encode: shard i = x_i. Decode: y_i = result i.
    Cost: nothing beyond the copy into shards; worker 1x; payload 1x.

    Args:
        k: queries in a group, 1 to 256.
        n: slots: k, which 0 stands for.
    """

    name: ClassVar[str] = "uncoded"
    summary: ClassVar[str] = "no redundancy: every slot is needed"
    exact: ClassVar[bool] = True

    k: int
    n: int = 0

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        if type(self.n) is not int or self.n not in (0, self.k):
            raise ValueError(f"Argument 'n' must be k = {self.k}, not {self.n!r}.")
        object.__setattr__(self, "n", self.k)

    @property
    def recovery_threshold(self) -> int:
        """Every slot."""
        return self.n

    def _generator(self) -> Matrix:
        return np.eye(self.k)

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        return np.full((self.k, len(slots)), np.nan)  # own slots only
