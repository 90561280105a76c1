"""Weighted averages of models, coordinate by coordinate: plain, by Fisher information, damped.

theta = (sum_i b_i F_i theta_i + d m theta_avg) / (sum_i b_i F_i + d m), with theta_avg the average
by b, m the mean of all denominators and d the damping; d = inf is the plain average. The sums are
kept, so that one model is replaced in time proportional to its weights, whatever the others are.
Source: [jhunjhunwala2024], Fisher averaging; the damping is ours.
"""

from collections.abc import Mapping, Sequence
from math import inf

import torch
from torch import Tensor

from training.merging.parents import State

EXACT = torch.float64  # a sum that is corrected again and again must not drift
TINY = 1e-30  # a denominator below it is nothing but rounding


def average(thetas: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> State:
    """sum_i b_i theta_i, of the dtype that the models have."""
    return {
        name: sum(
            (weight * theta[name].to(EXACT) for weight, theta in zip(weights, thetas, strict=True)),
            torch.zeros((), dtype=EXACT),
        ).to(value.dtype)
        for name, value in thetas[0].items()
    }


class Sums:
    """One coded model's sums over its parents.

    Args:
        thetas: of each parent, parameters by name.
        fishers: of each parent, the same names; none: then only the plain average is to be had.
        weights: b, all above 0 or 0, sum 1.
    """

    def __init__(
        self, thetas: Sequence[State], fishers: Sequence[State], weights: Sequence[float]
    ) -> None:
        fishers = fishers or [{} for _ in thetas]
        self.weights = tuple(weights)
        zeros = {name: torch.zeros_like(value, dtype=EXACT) for name, value in thetas[0].items()}
        self._above = {name: value.clone() for name, value in zeros.items()}
        self._below = {name: value.clone() for name, value in zeros.items()}
        self._plain = zeros
        for theta, fisher, weight in zip(thetas, fishers, weights, strict=True):
            self._add(theta, fisher, weight)

    def replace(
        self, position: int, before: tuple[State, State], after: tuple[State, State]
    ) -> None:
        """Put another model into a parent's place.

        Args:
            position: of the parent.
            before, after: parameters and Fisher of the old one and the new one.
        """
        weight = self.weights[position]
        self._add(*before, -weight)
        self._add(*after, weight)

    def merged(self, damping: float = 0.0) -> State:
        """The coded model's parameters, float32. Where no parent has any information, the plain
        average."""
        if damping == inf:
            return {name: value.float() for name, value in self._plain.items()}
        entries = sum(value.numel() for value in self._below.values())
        pull = damping * sum(float(value.sum()) for value in self._below.values()) / entries
        found = {}
        for name, below in self._below.items():
            known = below + pull
            values = (self._above[name] + pull * self._plain[name]) / known
            found[name] = torch.where(known > TINY, values, self._plain[name]).float()
        return found

    def _add(self, theta: State, fisher: State, weight: float) -> None:
        for name, value in theta.items():
            exact = value.to(EXACT)
            self._plain[name] += weight * exact
            if name in fisher:
                information = weight * fisher[name].to(EXACT)
                self._above[name] += information * exact
                self._below[name] += information
