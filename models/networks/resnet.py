"""ResNet-18 with a width: 64 is the published network, 16 runs on a laptop's cores.

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", 2016.
Deviates: images of at most 64 pixels a side enter through a 3x3 convolution without stride or
pooling, as is usual for CIFAR-10; larger ones through the published 7x7 stem.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.networks.normalise import Normalise

SMALL_IMAGE = 64  # pixels a side up to which the stem keeps the resolution


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, channels: int, following: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, following, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(following)
        self.conv2 = nn.Conv2d(following, following, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(following)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or channels != following:
            self.around = nn.Sequential(
                nn.Conv2d(channels, following, 1, stride, bias=False), nn.BatchNorm2d(following)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """[b, channels, h, w] to [b, following, h / stride, w / stride]."""
        inner = torch.relu(self.norm1(self.conv1(maps)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.around(maps))


class ResNet18(nn.Module):
    """Stages of blocks, four of two as published, average over the picture, one linear layer.

    Args:
        input_shape: (c, h, w) of one image.
        classes: length of the logits.
        width: filters of the first stage; each further stage has twice as many.
        mean, std: normalisation constants, one a channel or one for all.
        blocks: in each stage; 1 makes it ResNet-10.
        stages: 3 for the published network for 28x28 images.
        pool: average the image over squares of this side first.

    Raises:
        ValueError: no filters.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        width: int = 64,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        blocks: int = 2,
        stages: int = 4,
        pool: int = 1,
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("blocks", blocks), ("stages", stages)):
            if value < 1:
                raise ValueError(f"Argument {name!r} must be at least 1, not {value}.")
        channels = input_shape[0]
        self.normalise = Normalise(channels, mean, std, pool)
        if max(input_shape[1:]) <= SMALL_IMAGE:
            stem: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
        else:
            stem = [nn.Conv2d(channels, width, 7, 2, padding=3, bias=False), nn.MaxPool2d(3, 2, 1)]
        self.stem = nn.Sequential(stem[0], nn.BatchNorm2d(width), nn.ReLU(), *stem[1:])
        layers: list[nn.Module] = []
        for index in range(stages):
            before, after = width << max(index - 1, 0), width << index
            layers.append(Block(before, after, 1 if index == 0 else 2))
            layers += [Block(after, after, 1) for _ in range(blocks - 1)]
        self.blocks = blocks
        self.stages = nn.Sequential(*layers)
        self.classify = nn.Linear(width << (stages - 1), classes)

    def forward(self, images: Tensor) -> Tensor:
        """[b, c, h, w] in 0..1 to logits [b, classes]."""
        maps: Tensor = self.stages(self.stem(self.normalise(images)))
        logits: Tensor = self.classify(maps.mean(dim=(2, 3)))
        return logits

    def steps(self) -> dict[str, nn.Module]:
        """What `forward` does, one after the other, by name; the modules are the network's own."""
        stages = {
            f"stage{i // self.blocks + 1}": self.stages[i : i + self.blocks]
            for i in range(0, len(self.stages), self.blocks)
        }
        last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.classify)
        return {"input": self.normalise, "stem": self.stem, **stages, "logits": last}
