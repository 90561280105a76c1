"""Side information: a student's estimates of all answers, beside a parity of them."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from codes.backup import STUDENT
from codes.base import BASE, Matrix
from codes.checks import check_size
from codes.exact_case import ExactCase, identity_rows
from codes.linear import LinearDecoding
from codes.mosaic import mosaic

HELPER, PARITY = "helper", "parity-0"


@final
@dataclass(frozen=True)
class Assisted(LinearDecoding):
    """A student and a parity of the group, for the price of r slots; approximate.

    Group: q = k images. Roles: "base" for the queries; then for r = 1 one "helper", which is
    student and parity in one, and for r > 1 "student" r - 1 times and "parity-0". Threshold: k;
    and any student that responds gives all answers.
    Exact case: any program, if student and parity do what they are trained for.
    Encode: shard j = x_j for j < k; a student's and the helper's are all k queries,
    [g, k, *query]; the parity's is their mosaic.
    Results: a student's are k estimates; the parity's is sum_j y_j / k; the helper's are k
    estimates and that.
    Decode: y_j = the mean of the students' estimates; with no student the parity less the others.
    Calibrated, it is both, weighed by how wrong they are together: then an error that a student
    makes on a query whose answer came tells something of the parity's error, too.
    Cost: encode r k |x| additions, decode copies, calibrated s |y| multiply-adds an answer;
    payload k times a query's for a student. A student of half the budget of a slot and a parity of
    the other half make a helper of 1x.
    Source: design of this project.

    Args:
        k: images in a group, 1 to 256.
        n: slots, k + 1 to 256.
    """

    name: ClassVar[str] = "assisted"
    summary: ClassVar[str] = "systematic; a student's estimates and a parity, decoded together"
    exact: ClassVar[bool] = False

    k: int
    n: int

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k + 1, "k + 1")

    @property
    def recovery_threshold(self) -> int:
        """Any k slots have a student, or lack one own slot at most and have the parity."""
        return self.k

    @property
    def roles(self) -> tuple[str, ...]:
        """ "base" for the queries, then the helper, or students and a parity."""
        return (BASE,) * self.k + self._assistants

    @property
    def widths(self) -> tuple[int, ...]:
        """A student returns all k answers, a helper one row more."""
        width = {HELPER: self.k + 1, STUDENT: self.k, PARITY: 0}
        return (0,) * self.k + tuple(width[role] for role in self._assistants)

    @property
    def exact_case(self) -> ExactCase:
        """Any program, with an ideal student and parity."""
        says = f"every program, from any {self.k} slots, with an ideal student and parity"
        return ExactCase("any", identity_rows(self.k), self.k, says)

    @property
    def query_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Images only."""
        return ((1, 16, 16), (3, 17, 18))

    @property
    def _assistants(self) -> tuple[str, ...]:
        r = self.n - self.k
        return (HELPER,) if r == 1 else (STUDENT,) * (r - 1) + (PARITY,)

    def _responses(self) -> Matrix:
        parity = np.full((1, self.k), 1 / self.k)
        students = max(1, self.n - self.k - 1)
        return np.vstack([np.eye(self.k)] * (1 + students) + [parity])

    def _encode(self, queries: Tensor) -> list[Tensor]:
        own = queries.transpose(0, 1).contiguous().unbind(0)
        whole = queries.contiguous()
        return [
            *own,
            *(mosaic(queries) if role == PARITY else whole for role in self._assistants),
        ]

    def _decoder(self, slots: tuple[int, ...]) -> Matrix:
        rows = self.rows_of(slots)
        decoder = np.full((self.k, len(rows)), np.nan)
        last = len(self.responses) - 1  # the parity's row, which no other slot's comes after
        for j in range(self.k):
            estimates = [column for column, row in enumerate(rows) if self._is_estimate(row, j)]
            others = [column for column, row in enumerate(rows) if row < self.k]
            if estimates:
                decoder[j] = 0.0
                decoder[j, estimates] = 1 / len(estimates)
            elif rows[-1] == last and len(others) == self.k - 1:
                decoder[j] = 0.0
                decoder[j, others] = -1.0
                decoder[j, -1] = self.k
        return decoder

    def _is_estimate(self, row: int, j: int) -> bool:
        return self.k <= row < len(self.responses) - 1 and row % self.k == j
