"""What training does to images: the constants they are normalised by, and chance variations."""

import torch
from torch import Tensor
from torch.nn.functional import pad

LEAST_STD = 1e-3  # a channel that never changes is not blown up


def constants(images: Tensor) -> dict[str, list[float]]:
    """Mean and deviation of each channel, rounded so that a card can repeat them exactly."""
    std, mean = torch.std_mean(images, dim=(0, 2, 3))
    return {
        "mean": [round(value, 4) for value in mean.tolist()],
        "std": [max(round(value, 4), LEAST_STD) for value in std.tolist()],
    }


def varied(images: Tensor, shift_pixels: int, flip: bool) -> Tensor:
    """Each image moved and mirrored by chance, from torch's global generator.

    Args:
        images: [b, c, h, w].
        shift_pixels: the farthest move either way; what comes in from outside is 0.
        flip: mirror half of them.
    """
    count, channels, height, width = images.shape
    if flip:
        mirrored = torch.rand(count, device=images.device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if not shift_pixels:
        return images
    reach = shift_pixels
    padded = pad(images, (reach,) * 4)
    offsets = torch.randint(2 * reach + 1, (2, count, 1), device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    each = torch.arange(count, device=images.device)[:, None, None, None]
    planes = torch.arange(channels, device=images.device)[:, None, None]
    return padded[each, planes, rows[:, None, :, None], columns[:, None, None, :]]
