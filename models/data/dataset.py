"""What every loader gives: images, labels and the names of both, checked once."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Split = Literal["train", "test", "all", "learning", "validation"]

TEST_SHARE = 0.2  # of data that come in one piece
SPLIT_SEED = 20  # of that split; fixed, so that no test image is ever trained on
VALIDATION_SHARE = 0.1  # of the training images: to select and to calibrate by
VALIDATION_SEED = 10


class DataError(ValueError):
    """A data set is unknown, or a file is not what it should be; names the file."""


class DataUnavailable(OSError):
    """A data set is neither on this machine nor could it be fetched."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """One split of a data set.

    Attributes:
        name: what `load` was asked for.
        title: as tables and cards call it.
        note: what a reader of results must know about these very files; empty for the original.
        images: float32 [m, c, h, w].
        labels: int64 [m], 0 <= label < len(classes); [0] where the images have no labels.
        classes: names of the classes, in the order of the labels.
        targets: float32 [m, entries], the right answers where these are no classes; None elsewhere,
            and then images are in 0..1.
    """

    name: str
    title: str
    note: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != torch.float32 or count == 0:
            raise DataError(
                f"{self.name}: images must be float32 [m, c, h, w] with m >= 1, "
                f"not {self.images.dtype} {tuple(self.images.shape)}."
            )
        if self.labels.ndim != 1 or self.labels.dtype != torch.int64:
            raise DataError(f"{self.name}: labels must be int64 [m], not {self.labels.dtype}.")
        if self.targets is not None and len(self.targets) != count:
            raise DataError(f"{self.name}: {count} images, and {len(self.targets)} targets.")
        if self.is_labelled and len(self.labels) != count:
            raise DataError(f"{self.name}: {count} images, and {len(self.labels)} labels.")
        if self.is_labelled:
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0:
                raise DataError(f"{self.name}: labels must be at least 0, not {low}.")
            if high >= len(self.classes):
                raise DataError(
                    f"{self.name}: labels must be in 0..{len(self.classes) - 1}, not {high}."
                )

    @property
    def is_labelled(self) -> bool:
        """Whether the true classes are known."""
        return len(self.labels) > 0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, chosen: Tensor) -> "DataSet":
        """The same data set with only the images at these positions, in this order."""
        labels = self.labels[chosen] if self.is_labelled else self.labels
        targets = None if self.targets is None else self.targets[chosen]
        return replace(self, images=self.images[chosen], labels=labels, targets=targets)


def scaled(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """Bytes 0..255 to float32 0..1."""
    return torch.from_numpy(pixels.astype(np.float32, order="C")).div_(255)


def divided(
    whole: DataSet, split: Split, seed: int = SPLIT_SEED, share: float = TEST_SHARE
) -> DataSet:
    """A fixed share of data that come in one piece: the same share of every class is for testing.

    Args:
        whole: all of it.
        split: "train" and "test" share no image and together are "all".
        seed: of the choice.
        share: how much is for testing.
    """
    if split == "all":
        return whole
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(whole.images), generator=generator)
    strata = whole.labels[order] if whole.is_labelled else torch.zeros_like(order)
    for_test = torch.zeros(len(order), dtype=torch.bool)
    for stratum in sorted(set(strata.tolist())):
        members = (strata == stratum).nonzero().flatten()
        for_test[order[members[: round(len(members) * share)]]] = True
    chosen = (for_test if split == "test" else ~for_test).nonzero().flatten()
    if len(chosen) == 0:
        raise DataError(f"{whole.name}: too few images to have any for {split!r}.")
    return whole.take(chosen)
