"""Approximate backup: extra slots hold a small student that answers all queries of the group."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from codes.base import BASE, Matrix
from codes.checks import check_size
from codes.exact_case import ExactCase, identity_rows
from codes.linear import LeastSquares

STUDENT = "student"


@final
@dataclass(frozen=True)
class Backup(LeastSquares):
    """The baseline of every code here, approximate: lost answers are a student's.

    Group: q = k queries. Roles: "base" for the queries, "student" for the r others. Threshold: k;
    and any student that responds gives all answers, however many are lost.
    Exact case: any program, if the student is as good as the base model.
    Encode: shard j = x_j for j < k; each further shard is all k queries, [g, k, *query].
    Decode: y_j = the mean of the students' row j.
    Cost: encode and decode are copies. A student that is k times cheaper a query costs its worker
    1x; payload k times a query's.
    Source: [kosaian2019] as a baseline, there a model somewhat cheaper than the base; here it
    answers the whole group at the cost of one base query.

    Args:
        k: queries in a group, 1 to 256.
        n: slots, k to 256; r = n - k of them are students.
        distinct: whether each of them is another one, with the roles "student-0" and so on: the
            mean of several that learned apart is better than one of them.
    """

    name: ClassVar[str] = "backup"
    summary: ClassVar[str] = "systematic; extra slots run a small student on all queries"
    source: ClassVar[str] = "kosaian2019"
    exact: ClassVar[bool] = False

    k: int
    n: int
    distinct: bool = False

    def __post_init__(self) -> None:
        check_size("k", self.k, 1)
        check_size("n", self.n, self.k, "k")

    @property
    def recovery_threshold(self) -> int:
        """Any k slots are all own ones, or a student is among them."""
        return self.k

    @property
    def roles(self) -> tuple[str, ...]:
        """ "base" for the queries, "student" for the others."""
        students = range(self.n - self.k)
        return (BASE,) * self.k + tuple(
            f"{STUDENT}-{i}" if self.distinct else STUDENT for i in students
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """A student returns all k answers."""
        return (0,) * self.k + (self.k,) * (self.n - self.k)

    @property
    def exact_case(self) -> ExactCase:
        """Any program, with an ideal student."""
        says = f"every program, from any {self.k} slots, if the student equals the base model"
        return ExactCase("any", identity_rows(self.k), self.k, says)

    def _responses(self) -> Matrix:
        return np.vstack([np.eye(self.k)] * (1 + self.n - self.k))

    def _encode(self, queries: Tensor) -> list[Tensor]:
        own = queries.transpose(0, 1).contiguous().unbind(0)
        return [*own, *[queries.contiguous()] * (self.n - self.k)]
