"""Copies: each query goes to several slots."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from codes.base import Matrix
from codes.checks import check_size
from codes.linear import LinearCode


@final
@dataclass(frozen=True)
class Replication(LinearCode):
    """Copies of each query, exact: any one of an answer's slots gives it.

    Group: q = k queries. Roles: all "base". Threshold: n - floor(n / k) + 1.
    Encode: shard i = x_(i mod k). Decode: y_j = the result of its first slot that responded.
    Cost: nothing beyond the copy into shards; worker 1x; payload 1x.
    n need not be a multiple of k: copies are spread evenly and the first n mod k queries have one
    more, so that a code of any n can be compared with copies on the same n workers.

    Args:
        k: queries in a group, 1 to 256.
        n: slots, k to 256.
    """

    name: ClassVar[str] = "replication"
    summary: ClassVar[str] = "copies of each query, spread evenly over the slots"
    exact: ClassVar[bool] = True

    k: int
    n: int

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k, "k")

    @property
    def recovery_threshold(self) -> int:
        """One more than what leaves out all copies of the query that has the fewest."""
        return self.n - self.n // self.k + 1

    def _generator(self) -> Matrix:
        return np.eye(self.k)[np.arange(self.n) % self.k]

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        return np.full((self.k, len(slots)), np.nan)  # own slots only
