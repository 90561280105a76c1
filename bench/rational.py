"""The error locator that ApproxIFER is published with, as the baseline of `python -m bench liars`.

Written from its description and code [soleymani2022]; nothing serves with it.
"""

import numpy as np
from jaxtyping import Float64


def rational_suspects(
    values: Float64[np.ndarray, "s g entries"],
    points: Float64[np.ndarray, " s"],
    k: int,
    errors: int,
) -> tuple[int, ...]:
    """The `errors` responders whose results look most wrong; always so many, honest or not.

    For each entry of each group a rational function P / Q is fitted, P(z) = y Q(z) at the points,
    both of degree k + errors - 1; where Q is smallest, a result is suspected. Entries and groups
    vote. Deviates: Chebyshev polynomials in place of powers, for their condition, with Q's
    coefficient of the first one set to 1.

    Args:
        values: results of the responders.
        points: their slot points, in -1..1; at least 2 (k + errors) - 1 for a unique fit.
        k: queries in a group.
        errors: how many results are wrong, known beforehand; at least 1.

    Returns:
        Positions of the responders, ascending.
    """
    degree = k + errors - 1
    basis = np.polynomial.chebyshev.chebvander(points, degree)  # [s, degree + 1]
    samples = values.reshape(len(points), -1).T  # [entries of all groups, s]
    system = np.concatenate(
        [
            np.broadcast_to(basis, (len(samples), *basis.shape)),
            -samples[:, :, None] * basis[:, 1:],
        ],
        axis=2,
    )
    solved = np.einsum("xus,xs->xu", np.linalg.pinv(system), samples)
    denominators = 1 + solved[:, degree + 1 :] @ basis[:, 1:].T  # [entries of all groups, s]
    suspected = np.argsort(np.abs(denominators), axis=1)[:, :errors]
    votes = np.bincount(suspected.ravel(), minlength=len(points))
    return tuple(sorted(np.argsort(-votes, kind="stable")[:errors].tolist()))
