"""LeNet-5 in today's dress: ReLU and max pooling, padded so that 8x8 images fit too.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Proc. IEEE 86(11), 1998.
Deviates: every filter of the second layer sees all maps of the first; linear output layer.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from models.networks.normalise import Normalise

SMALLEST = 4  # pixels a side: two poolings leave one


class LeNet(nn.Module):
    """Two 5x5 convolutions with pooling, then 120, 84 and the logits.

    Args:
        input_shape: (c, h, w) of one image, at least 4x4.
        classes: length of the logits.
        width: filters as a multiple of the original 6 and 16; at least one of each.
        hidden: widths of the two linear layers; by default 120 and 84, times width if that is
            below 1.
        pool: average the image over squares of this side first.
        mean, std: normalisation constants, one a channel or one for all.

    Raises:
        ValueError: images too small, or a width that is not above 0.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        width: float = 1,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        hidden: Sequence[int] | None = None,
        pool: int = 1,
    ) -> None:
        super().__init__()
        channels, height, across = input_shape
        height, across = height // pool, across // pool
        if min(height, across) < SMALLEST:
            raise ValueError(
                f"Images must be at least {SMALLEST}x{SMALLEST}, not {height}x{across}."
            )
        if not width > 0:
            raise ValueError(f"Argument 'width' must be above 0, not {width}.")
        first, second = (max(1, round(filters * width)) for filters in (6, 16))
        narrow = min(1.0, width)
        one, two = hidden or (max(1, round(120 * narrow)), max(1, round(84 * narrow)))
        self.normalise = Normalise(channels, mean, std, pool)
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (across // 4), one),
            nn.ReLU(),
            nn.Linear(one, two),
            nn.ReLU(),
            nn.Linear(two, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[b, c, h, w] in 0..1 to logits [b, classes]."""
        logits: Tensor = self.classify(self.features(self.normalise(images)))
        return logits

    def steps(self) -> dict[str, nn.Module]:
        """What `forward` does, one after the other, by name; the modules are the network's own."""
        return {
            "input": self.normalise,
            "conv1": self.features[:3],
            "conv2": self.features[3:],
            "linear1": self.classify[:3],
            "linear2": self.classify[3:5],
            "logits": self.classify[5],
        }
