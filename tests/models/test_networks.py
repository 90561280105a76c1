"""Networks: shapes, batch independence, and errors that name what is accepted."""

import pytest
import torch

from models.networks import REGISTRY, make

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 23)]
SMALL: dict[str, dict[str, int]] = {"resnet18": {"width": 2}}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", REGISTRY)
def test_logits_for_every_size_of_image(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = make(name, shape, 7, **SMALL.get(name, {})).eval()
    images = torch.rand(5, *shape)
    with torch.inference_mode():
        logits = module(images)
        alone = module(images[3:4])
    assert logits.shape == (5, 7)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits[3:4], alone)  # no query depends on its batch


@pytest.mark.parametrize("name", REGISTRY)
def test_normalisation_is_inside(name: str) -> None:
    def logits(images: torch.Tensor, **constants: list[float]) -> torch.Tensor:
        torch.manual_seed(0)
        module = make(name, (3, 8, 8), 4, **SMALL.get(name, {}), **constants).eval()
        with torch.inference_mode():
            answer: torch.Tensor = module(images)
        return answer

    images = torch.rand(2, 3, 8, 8)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    by_hand = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(
        logits(images, mean=mean, std=std), logits(by_hand, mean=[0.0], std=[1.0])
    )


def test_large_images_enter_through_the_published_stem() -> None:
    assert sum(p.numel() for p in make("resnet18", (3, 224, 224), 1000).parameters()) == 11_689_512


def test_width_scales_the_network() -> None:
    def size(width: int) -> int:
        return sum(p.numel() for p in make("lenet", (1, 28, 28), 10, width=width).parameters())

    assert size(1) == 156 + 2_416 + 120 * (16 * 7 * 7 + 1) + 10_164 + 850
    assert size(2) > size(1)


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        (("lennet", (1, 8, 8), 10), {}, "Did you mean 'lenet'.*mlp, lenet, resnet18"),
        (("lenet", (1, 8, 8), 10), {"widht": 2}, "no option 'widht'.*'width'"),
        (("mlp", (8, 8), 10), {}, "input_shape"),
        (("mlp", (1, 0, 8), 10), {}, "input_shape"),
        (("mlp", (1, 8, 8), 1), {}, "classes.*at least 2, not 1"),
        (("mlp", (1, 8, 8), 2), {"hidden": [0]}, "hidden"),
        (("lenet", (1, 3, 8), 10), {}, "at least 4x4, not 3x8"),
        (("lenet", (1, 8, 8), 10), {"width": 0}, "width"),
        (("resnet18", (1, 8, 8), 10), {"width": 0}, "width"),
        (("mlp", (3, 8, 8), 10), {"mean": [0.1, 0.2]}, "mean.*1 or 3 numbers, not 2"),
        (("mlp", (3, 8, 8), 10), {"std": [0.0]}, "std.*above 0"),
    ],
)
def test_errors_name_what_is_accepted(
    arguments: tuple[str, tuple[int, ...], int], options: dict[str, object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        make(*arguments, **options)
