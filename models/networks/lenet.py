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
        width: filters as a multiple of the original 6 and 16.
        mean, std: normalisation constants, one a channel or one for all.

    Raises:
        ValueError: images too small, or no filters.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        width: int = 1,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        channels, height, across = input_shape
        if min(height, across) < SMALLEST:
            raise ValueError(
                f"Images must be at least {SMALLEST}x{SMALLEST}, not {height}x{across}."
            )
        if width < 1:
            raise ValueError(f"Argument 'width' must be at least 1, not {width}.")
        self.normalise = Normalise(channels, mean, std)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6 * width, 16 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classify = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * width * (height // 4) * (across // 4), 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[b, c, h, w] in 0..1 to logits [b, classes]."""
        logits: Tensor = self.classify(self.features(self.normalise(images)))
        return logits
