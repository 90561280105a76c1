"""The networks of a learned code: an encoder of parity queries and a decoder of lost answers.

One implementation trains and serves. Knows nothing of slots, losses or training (`codes.learned`,
`training`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import torch
from jaxtyping import Float
from torch import Tensor, nn

INIT_STD = 0.01  # of linear weights, as published
DILATIONS = (1, 1, 2, 4, 8, 1)  # of the 3x3 convolutions: a receptive field of 35 pixels
FILTERS_A_QUERY = 20  # of each of them, times k


class MlpEncoder(nn.Module):
    """Fully connected: k planes at once to r planes.

    Args:
        k, r: queries and parities.
        pixels: of a plane.

    Source: [kosaian2018], MLPEncoder.
    """

    def __init__(self, k: int, r: int, pixels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(k * pixels, k * pixels), nn.ReLU(), nn.Linear(k * pixels, r * pixels)
        )

    def forward(self, planes: Tensor) -> Tensor:
        """[b, k, h, w] to [b, r, h, w]."""
        mixed: Tensor = self.layers(planes.flatten(1))
        return mixed.view(len(planes), -1, *planes.shape[2:])


class ConvEncoder(nn.Module):
    """Dilated convolutions: the k planes are channels, and so are the r that come out.

    Args:
        k, r: queries and parities.

    Source: [kosaian2018], ConvEncoder.
    """

    def __init__(self, k: int, r: int) -> None:
        super().__init__()
        filters = FILTERS_A_QUERY * k
        layers: list[nn.Module] = []
        before = k
        for dilation in DILATIONS:
            layers += [
                nn.Conv2d(before, filters, 3, padding=dilation, dilation=dilation),
                nn.ReLU(),
            ]
            before = filters
        self.layers = nn.Sequential(*layers, nn.Conv2d(filters, r, 1))

    def forward(self, planes: Tensor) -> Tensor:
        """[b, k, h, w] to [b, r, h, w]."""
        mixed: Tensor = self.layers(planes)
        return mixed


class Coder(nn.Module):
    """Encoder and decoder of one learned code.

    Args:
        k, r: queries and parities of a group.
        query_shape: (c, h, w) of an image.
        classes: length of an answer.
        encoder: "mlp" or "conv".
        assisted: whether the decoder is given k rows more, a student's estimates: what it adds to
            them is the answer.

    Source: [kosaian2018]. Deviates: of images with several channels, plane c of the parities is
    made from plane c of all queries; the published code groups consecutive planes of one image.
    """

    def __init__(
        self,
        k: int,
        r: int,
        query_shape: tuple[int, ...],
        classes: int,
        encoder: str,
        assisted: bool = False,
    ) -> None:
        super().__init__()
        self.k, self.r, self.classes, self.assisted = k, r, classes, assisted
        _, height, width = query_shape
        self.encoder: nn.Module
        if encoder == "mlp":
            self.encoder = MlpEncoder(k, r, height * width)
        else:
            self.encoder = ConvEncoder(k, r)
        taken, given = (k + r + k * assisted) * classes, k * classes
        self.decoder = nn.Sequential(
            nn.Linear(taken, taken), nn.ReLU(),
            nn.Linear(taken, given), nn.ReLU(),
            nn.Linear(given, given),
        )  # fmt: skip

    def encode(self, queries: Float[Tensor, "g k c h w"]) -> Float[Tensor, "g r c h w"]:
        """The parity queries of each group."""
        groups, _, channels, height, width = queries.shape
        planes = queries.transpose(1, 2).reshape(groups * channels, self.k, height, width)
        mixed: Tensor = self.encoder(planes)
        return mixed.view(groups, channels, self.r, height, width).transpose(1, 2)

    def decode(self, results: Float[Tensor, "g rows classes"]) -> Float[Tensor, "g k classes"]:
        """All answers, from rows of results that are zero where a slot is lost."""
        answers: Tensor = self.decoder(results.flatten(1)).view(-1, self.k, self.classes)
        return answers + results[:, -self.k :] if self.assisted else answers


@dataclass(frozen=True, eq=False, repr=False)
class Weights:
    """The state of a `Coder`, as it was trained; equal when its contents are."""

    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, coder: Coder) -> "Weights":
        """A copy, on the CPU."""
        state = coder.state_dict().items()
        return cls({name: tensor.detach().cpu().clone() for name, tensor in state})

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of names, shapes and contents."""
        digest = sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weights) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Weights(hash={self.hash[:12]!r})"


def fresh(seed: int, made: Coder) -> Coder:
    """An untrained `Coder`, on the CPU and in evaluation mode, from one on the device "meta".

    Weights are drawn as published: linear ones normal with deviation 0.01, convolutions by Xavier.
    Biases are 0. Nothing global is drawn from: threads may do this at once.
    """
    generator = torch.Generator().manual_seed(seed)
    made.to_empty(device="cpu")
    for layer in made.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=INIT_STD, generator=generator)
        elif isinstance(layer, nn.Conv2d):
            gain = nn.init.calculate_gain("relu")
            nn.init.xavier_uniform_(layer.weight, gain, generator=generator)
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return made.eval()
