"""Where a code must be exact. Approximate codes hide mistakes; here they cannot."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ExactCase:
    """Where decode after encode must give the uncoded answers: what a check holds a code to.

    Attributes:
        program: of the slots: any function of one query, or a linear one.
        groups: the coding groups, as the rows of a matrix [b, k]: query j of such a group is
            sum_b groups[b][j] c_b for some c. The identity stands for every group.
        needs: how many responders.
        says: the same in words.
    """

    program: Literal["any", "linear"]
    groups: tuple[tuple[float, ...], ...]
    needs: int
    says: str


def identity_rows(k: int) -> tuple[tuple[float, ...], ...]:
    """The rows of the identity [k, k], as `ExactCase.groups` has them."""
    return tuple(tuple(float(i == j) for j in range(k)) for i in range(k))
