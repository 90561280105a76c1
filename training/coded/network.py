"""A fully connected classifier as nodes without a master run it: passes that ask for products.

A pass is a generator: it yields the products that it needs, is sent them decoded, and returns the
factors of all gradients. So it neither waits nor knows who answers, and can be gone through again
with the answers that were kept. Biases are the weights' last columns, for inputs that are 1: all
that is learned lives encoded.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import nn

from training.coded.nodes import Array
from training.coded.peers import Factors

Touch = Callable[[Array], Array]  # makes an array wrong, now and then


@dataclass(frozen=True)
class Wanted:
    """A product that a pass needs.

    Attributes:
        layer: whose weight.
        transpose: of the weight.
        values: to multiply it by, [in or out, batch].
    """

    layer: int
    transpose: bool
    values: Array


@dataclass(frozen=True)
class Network:
    """Widths from the inputs to the classes, and what is between the layers."""

    widths: tuple[int, ...]
    activation: Literal["tanh", "relu"] = "tanh"
    dtype: Literal["float32", "float64"] = "float64"

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of the weights, biases included: [out, in + 1]."""
        return [(after, before + 1) for before, after in pairwise(self.widths)]

    def weights(self, seed: int) -> list[Array]:
        """Fresh ones, as `nn.Linear` draws them."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = [nn.Linear(before, after) for before, after in pairwise(self.widths)]
        both = [torch.cat([layer.weight, layer.bias[:, None]], 1) for layer in layers]
        return [values.detach().numpy().astype(self.dtype) for values in both]

    def passes(
        self, images: Array, labels: Array, touch: Touch = lambda values: values
    ) -> Generator[Wanted, Array, list[Factors]]:
        """Forward and backward, for the mean cross-entropy of a batch.

        Args:
            images: [batch, in]; labels: [batch].
            touch: of what is computed between the products.
        """
        inputs: list[Array] = []
        sums = images.T.astype(self.dtype)
        last = len(self.widths) - 2
        for layer in range(last + 1):
            values = sums if layer == 0 else touch(self._active(sums))
            inputs.append(_with_ones(values))
            sums = yield Wanted(layer, False, inputs[-1])
        signal = touch(_signal(sums, labels))
        found = [Factors(inputs[last], signal)]
        for layer in range(last, 0, -1):
            back = yield Wanted(layer, True, signal)
            values = inputs[layer][:-1]
            signal = touch(back[:-1] * self._slope(values))
            found.append(Factors(inputs[layer - 1], signal))
        return found[::-1]

    def predict(self, weights: list[Array], images: Array) -> Array:
        """Classes [batch] by whole weights."""
        sums = images.T.astype(self.dtype)
        for layer, weight in enumerate(weights):
            sums = weight @ _with_ones(sums if layer == 0 else self._active(sums))
        return np.asarray(sums.argmax(axis=0))

    def _active(self, sums: Array) -> Array:
        return np.tanh(sums) if self.activation == "tanh" else np.maximum(sums, 0)

    def _slope(self, active: Array) -> Array:
        return 1 - active**2 if self.activation == "tanh" else (active > 0).astype(active.dtype)


def _with_ones(values: Array) -> Array:
    return np.concatenate([values, np.ones((1, values.shape[1]), values.dtype)])


def _signal(logits: Array, labels: Array) -> Array:
    """Gradient of the mean cross-entropy with respect to the logits [classes, batch]."""
    powers = np.exp(logits - logits.max(axis=0))
    signal = powers / powers.sum(axis=0)
    signal[labels, np.arange(len(labels))] -= 1
    return np.asarray(signal / len(labels), dtype=logits.dtype)
