"""Where a code must be exact. Approximate codes hide mistakes; here they cannot."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ExactCase:
    """Where decode after encode must give the uncoded answers: what a check holds a code to.

    Attributes:
        program: of the slots: any function of one query, a linear one, a polynomial of `degree`, or
            a homogeneous one: with terms of degree d, d - 2, ... only.
        groups: the coding groups, as the rows of a matrix [b, q]: query j of such a group is
            sum_b groups[b][j] c_b for some c. The identity stands for every group.
        needs: how many responders.
        says: the same in words.
        degree: of a polynomial.
    """

    program: Literal["any", "linear", "polynomial", "homogeneous"]
    groups: tuple[tuple[float, ...], ...]
    needs: int
    says: str
    degree: int = 1


def identity_rows(k: int) -> tuple[tuple[float, ...], ...]:
    """The rows of the identity [k, k], as `ExactCase.groups` has them."""
    return tuple(tuple(float(i == j) for j in range(k)) for i in range(k))
