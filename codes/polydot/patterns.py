"""What a set of nodes is worth: how it decodes, checks, and hides errors."""

from dataclasses import dataclass

import numpy as np

from codes.base import Matrix
from codes.locating import SMALLEST_LEVER


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a set of nodes is worth.

    Attributes:
        decoder: [wanted, rows].
        parity: [rows - K, rows], orthonormal; times honest rows it is 0.
        noise_gain: Frobenius norm of the decoder: what noise of every row grows to.
        hidden_gain: how much larger an error of one node may come out than its parity; of one real
            row of a node where there are too few parities for whole nodes; 0 without any.
    """

    decoder: Matrix
    parity: Matrix
    noise_gain: float
    hidden_gain: float


def pattern_of(decoder: Matrix, parity: Matrix, width: int) -> Pattern:
    """Of a decoder [wanted, rows] and parities [rows - K, rows]; a node has `width` rows."""
    hidden = 0.0
    checked = min(width, len(parity))  # rows in which an error is seen, whatever it is
    for start in range(0, decoder.shape[1], checked) if checked else ():
        own = slice(start, start + checked)
        _, sizes, right = np.linalg.svd(parity[:, own], full_matrices=False)
        if not sizes[-1] > SMALLEST_LEVER:
            hidden = np.inf
            break
        worst = np.linalg.norm(decoder[:, own] @ (right.T / sizes), 2)
        hidden = max(hidden, float(worst))
    return Pattern(decoder, parity, float(np.linalg.norm(decoder)), hidden)
