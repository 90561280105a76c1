"""Fully connected network: the smallest base model, and polynomials for codes that are exact."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from models.networks.normalise import Normalise


class Square(nn.Module):
    """x to x squared."""

    def forward(self, values: Tensor) -> Tensor:
        """Entry by entry."""
        return values.square()


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "square": Square}


class Mlp(nn.Module):
    """Flatten, then linear layers with an activation between them.

    Args:
        input_shape: (c, h, w) of one image.
        classes: length of the logits.
        hidden: widths of the hidden layers; none gives logistic regression.
        mean, std: normalisation constants, one a channel or one for all.
        pool: average the image over squares of this side first.
        activation: "relu"; or "square", which makes the network a polynomial: of degree 1 without
            hidden layers, 2 with one, 4 with two.

    Raises:
        ValueError: a width below 1, or another activation.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (128,),
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        pool: int = 1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"Argument 'activation' must be one of {', '.join(ACTIVATIONS)}, "
                f"not {activation!r}."
            )
        channels, height, across = input_shape
        self.normalise = Normalise(channels, mean, std, pool)
        widths = (channels * (height // pool) * (across // pool), *hidden)
        if min(widths) < 1:
            raise ValueError(f"Argument 'hidden' must have widths of at least 1, not {hidden}.")
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))

    def forward(self, images: Tensor) -> Tensor:
        """[b, c, h, w] in 0..1 to logits [b, classes]."""
        logits: Tensor = self.layers(self.normalise(images))
        return logits

    def steps(self) -> dict[str, nn.Module]:
        """What `forward` does, one after the other, by name; the modules are the network's own."""
        hidden = {
            f"linear{i + 1}": self.layers[1 + 2 * i : 3 + 2 * i]
            for i in range(len(self.layers) // 2 - 1)
        }
        return {
            "input": nn.Sequential(self.normalise, self.layers[0]),
            **hidden,
            "logits": self.layers[-1],
        }
