"""The small network of the digits settings, and every network of the table by name."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models import networks
from models.cost import multiply_adds, within

SMALL = "digits-cnn"
SHAPES = {SMALL: (1, 8, 8), "lenet": (1, 28, 28), "resnet18": (1, 28, 28)}


class DigitsCnn(nn.Module):
    """conv8, conv16, pooling, 48 units, 10 outputs: 14,074 parameters on 8x8 images.

    Args:
        norm: batch normalisation after each convolution.
        filters: of the first convolution; the second has twice, the units are six times as many.
    """

    def __init__(self, *, norm: bool = False, filters: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, filters), (filters, 2 * filters)):
            layers.append(nn.Conv2d(before, after, 3, padding=1))
            layers += [nn.BatchNorm2d(after)] if norm else []
            layers.append(nn.ReLU())
        self.features = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten())
        self.classify = nn.Sequential(nn.Linear(32 * filters, 6 * filters), nn.ReLU())
        self.head = nn.Linear(6 * filters, 10)

    def forward(self, images: Tensor) -> Tensor:
        """[b, 1, 8, 8] to [b, 10]."""
        outputs: Tensor = self.head(self.classify(self.features(images)))
        return outputs


def network(name: str, input_shape: Sequence[int], seed: int, **options: Any) -> nn.Module:
    """A network with fresh weights of a seed.

    Args:
        name: digits-cnn, or as of `models.networks.make`.
        input_shape: (c, h, w).
        seed: of the weights; the caller's generator stays as it is.
        options: of the network.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == SMALL:
            return DigitsCnn(**options)
        return networks.make(name, input_shape, 10, **options)


def narrower(module: nn.Module, name: str, share: float, **options: Any) -> nn.Module:
    """The widest network of a kind that costs at most a share of another's multiply-adds.

    Args:
        module: the other, of the same kind.
        name, options: of the kind, as of `network`.
        share: of its cost.
    """
    budget = share * multiply_adds(module, SHAPES[name])
    if name == SMALL:
        wide = [
            filters
            for filters in range(1, 9)
            if multiply_adds(DigitsCnn(filters=filters), SHAPES[name]) <= budget
        ]
        return DigitsCnn(filters=wide[-1], **options)
    kept = {key: value for key, value in options.items() if key not in ("width", "hidden")}
    return networks.make(name, SHAPES[name], 10, **within(budget, name, SHAPES[name], 10, **kept))
