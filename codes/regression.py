"""Ridge regression of lost answers on all entries of the results that came, in closed form.

What each entry of an answer owes to every entry of every result: a matrix for each set of
responders, from a sample of all results. `codes.calibrated` has one number a result instead. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

RIDGE = 1e-3  # of the regressors' mean variance; accuracy was flat from 1e-4 to 1e-2


@dataclass(frozen=True)
class Regression:
    """An affine map from results to answers, and what it leaves.

    Attributes:
        matrix: [results' entries, answers' entries].
        bias: [answers' entries].
        error: of each answer, the share of its variance that is left, with the ridge's part:
            a further result never adds to it.
    """

    matrix: Float64[np.ndarray, "x y"]
    bias: Float64[np.ndarray, " y"]
    error: Float64[np.ndarray, " a"]


def regress(
    results: Float64[np.ndarray, "m s entries"],
    answers: Float64[np.ndarray, "m a entries"],
    ridge: float,
) -> Regression:
    """The regression of a sample's answers on its results.

    Args:
        results: of some slots.
        answers: that are estimated from them.
        ridge: added to the variance of each entry of a result, above 0.
    """
    x, y = results.reshape(len(results), -1), answers.reshape(len(answers), -1)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    across = x.T @ y / len(x)
    within = x.T @ x / len(x)
    matrix = np.linalg.solve(within + ridge * np.eye(len(within)), across)
    shape = (answers.shape[1], -1)
    explained = (matrix * across).sum(axis=0).reshape(shape).sum(axis=1)
    variance = np.square(y).mean(axis=0).reshape(shape).sum(axis=1)
    # Answers that never vary are their mean.
    share = np.divide(explained, variance, out=np.ones(len(variance)), where=variance > 0)
    return Regression(matrix, y_mean - x_mean @ matrix, np.clip(1 - share, 0.0, 1.0))


def usual_ridge(results: Sequence[np.ndarray] | np.ndarray) -> float:
    """For a sample of all slots' results [m, n, entries]: one number for all sets of them."""
    variance = float(np.asarray(results).var(axis=0).mean())
    return RIDGE * (variance if variance > 0 else 1.0)
