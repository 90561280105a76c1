"""The first layer of every network here: images in 0..1 to zero mean and unit deviation, made
smaller where the network looks at less than is there.

The constants are buffers, so they travel in the exported program and clients need not know them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class Normalise(nn.Module):
    """(x - mean) / std, channel by channel.

    Args:
        channels: of the images.
        mean, std: one number a channel, or one for all; std above 0.
        pool: average over squares of this side, at least 1.

    Raises:
        ValueError: another number of constants, or a deviation that is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, mean: Sequence[float], std: Sequence[float], pool: int = 1
    ) -> None:
        super().__init__()
        if pool < 1:
            raise ValueError(f"Argument 'pool' must be at least 1, not {pool}.")
        self.pool = pool
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise ValueError(
                    f"Argument {name!r} must have 1 or {channels} numbers, not {len(values)}."
                )
            constants = torch.tensor(list(values), dtype=torch.float32)
            self.register_buffer(
                name, constants.expand(channels).reshape(1, channels, 1, 1).clone()
            )
        if min(std) <= 0:
            raise ValueError(f"Argument 'std' must be above 0, not {min(std)}.")

    def forward(self, images: Tensor) -> Tensor:
        """[b, c, h, w] to [b, c, h / pool, w / pool]."""
        if self.pool > 1:
            images = avg_pool2d(images, self.pool)
        return (images - self.mean) / self.std
