"""What merged models stand for: rows of weights, one for each of them, and the roles of all slots.

For `codes.coin` and `codes.product`; how models are merged is not known here.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np

from codes.base import Matrix

MOST_CHECKED = 2000  # sets of k slots that rows are tried on
MOST_CONDITION = 1e8  # of k rows: beyond it least squares refuses them, or nearly


def vandermonde_rows(models: int, r: int) -> Matrix:
    """Weights [r, models]: powers 0, 1, ... of the nodes 1, 2, ..., each row of sum 1.

    Every minor of a Vandermonde matrix with rising positive nodes is positive, so that any so many
    slots decode; and no weight is negative, as Fisher averaging needs it. The first row is the
    plain mean.
    """
    rows = np.arange(1.0, models + 1) ** np.arange(r)[:, None]
    return np.asarray(rows / rows.sum(axis=1, keepdims=True), np.float64)


def coin_roles(models: int, coded: int) -> tuple[str, ...]:
    """ "model-0" and so on, then "coded-0" and so on."""
    return tuple(f"model-{i}" for i in range(models)) + tuple(f"coded-{i}" for i in range(coded))


def checked_rows(
    given: Sequence[Sequence[float]] | None, models: int, r: int
) -> tuple[tuple[float, ...], ...]:
    """Rows of weights as a code keeps them.

    Raises:
        ValueError: not r rows of as many finite numbers as there are models, or rows with which
            some set of that many slots does not decode.
    """
    if given is None:
        given = vandermonde_rows(models, r).tolist()
    rows = tuple(tuple(float(weight) for weight in row) for row in given)
    widths = sorted({len(row) for row in rows})
    if len(rows) != r or any(width != models for width in widths):
        raise ValueError(
            f"Argument 'weights' must have n - k = {r} rows of k = {models} weights, not "
            f"{len(rows)} rows of {', '.join(map(str, widths)) or 'no'} weights."
        )
    responses = np.vstack([np.eye(models), np.array(rows).reshape(-1, models)])
    if not np.isfinite(responses).all():
        raise ValueError("Argument 'weights' must be finite.")
    tried = combinations(range(models + r), models) if comb(models + r, r) <= MOST_CHECKED else ()
    for slots in tried:
        if np.linalg.cond(responses[list(slots)]) > MOST_CONDITION:
            raise ValueError(
                f"Argument 'weights' must let any {models} slots give all answers; "
                f"slots {slots} do not."
            )
    return rows
