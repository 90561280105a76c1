"""Networks that answer image queries: a registry by name, one file each.

All take float32 images [b, c, h, w] in 0..1, normalise them inside, and give logits
[b, classes]. They hold no batch statistics in evaluation mode, so that a query's answer does not
depend on the other queries of its batch. Does not train and does not export.
"""

import math
from collections.abc import Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any

from torch import nn

from models.networks.lenet import LeNet
from models.networks.mlp import Mlp
from models.networks.resnet import ResNet18

__all__ = ["REGISTRY", "LeNet", "Mlp", "ResNet18", "make"]

REGISTRY: dict[str, type[nn.Module]] = {"mlp": Mlp, "lenet": LeNet, "resnet18": ResNet18}


def make(name: str, input_shape: Sequence[int], classes: int, **options: Any) -> nn.Module:
    """Build a network with fresh weights, drawn from torch's global generator.

    Args:
        name: a key of `REGISTRY`.
        input_shape: (channels, height, width) of one image.
        classes: length of its logits.
        options: further arguments of the network, such as `hidden`, `width`, `mean` or `std`.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
    """
    if name not in REGISTRY:
        raise ValueError(f"Unknown network {name!r}.{_nearest(name, REGISTRY)}")
    network = REGISTRY[name]
    accepted = list(signature(network).parameters)[2:]
    for option in options:
        if option not in accepted:
            raise ValueError(
                f"Network {name!r} has no option {option!r}.{_nearest(option, accepted)}"
            )
    shape = tuple(input_shape)
    if len(shape) != 3 or math.prod(shape) < 1 or min(shape) < 1:
        raise ValueError(f"Argument 'input_shape' must be (channels, height, width), not {shape}.")
    if classes < 2:
        raise ValueError(f"Argument 'classes' must be at least 2, not {classes}.")
    return network(shape, classes, **options)


def _nearest(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    nearest = get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{hint} Known: {', '.join(known)}."
