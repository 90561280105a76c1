"""Tasks that one architecture learns: data sets, and data sets changed so that they are others.

All tasks of a family share image shape and number of classes, so that outputs can be summed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from models import data
from models.data import DataSet
from models.data.dataset import divided

DIGITS = "digits"
DIGITS_SPLIT, DIGITS_TEST_SHARE = 40, 0.4  # seed and share: as the settings that targets came from
PERMUTATION = 8  # seed of the fixed order of pixels


def _permuted(whole: DataSet) -> DataSet:
    flat = whole.images.flatten(1)
    order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(PERMUTATION))
    return replace(whole, images=flat[:, order].view_as(whole.images))


def _classes(low: int, high: int) -> Callable[[DataSet], DataSet]:
    def chosen(whole: DataSet) -> DataSet:
        inside = (whole.labels >= low) & (whole.labels < high)
        return whole.take(inside.nonzero().flatten())

    return chosen


def _turned(whole: DataSet) -> DataSet:
    return replace(whole, images=whole.images.rot90(1, (2, 3)).contiguous())


def _inverted(whole: DataSet) -> DataSet:
    return replace(whole, images=1 - whole.images)


CHANGES: dict[str, Callable[[DataSet], DataSet]] = {
    "": lambda whole: whole,
    "rot": _turned,
    "inv": _inverted,
    "invrot": lambda whole: _turned(_inverted(whole)),
    "perm": _permuted,
    "low": _classes(0, 5),
    "high": _classes(5, 10),
}


@dataclass(frozen=True, eq=False)
class Task:
    """What one network learns.

    Attributes:
        name: as of `task`.
        learning: images to learn from, and to calibrate by, without their labels.
        held: images to choose epochs by; of digits, which are not chosen, those of `learning`.
        test: images to be asked once.
    """

    name: str
    learning: DataSet
    held: DataSet
    test: DataSet


def task(name: str) -> Task:
    """A task by name: DATASET or DATASET:CHANGE, such as mnist:rot.

    Args:
        name: of the task.

    Raises:
        ValueError: no such change.
    """
    dataset, _, change = name.partition(":")
    if change not in CHANGES:
        raise ValueError(f"A task's change must be one of {', '.join(CHANGES)}, not {change!r}.")
    if dataset == DIGITS:
        whole = data.load(DIGITS, "all")
        learning = divided(whole, "train", DIGITS_SPLIT, DIGITS_TEST_SHARE)
        parts = learning, learning, divided(whole, "test", DIGITS_SPLIT, DIGITS_TEST_SHARE)
    else:
        parts = (
            data.load(dataset, "learning"),
            data.load(dataset, "validation"),
            data.load(dataset, "test"),
        )
    return Task(name, *map(CHANGES[change], parts))


def joined(parts: Sequence[DataSet], share: float = 1.0, seed: int = 0) -> DataSet:
    """Some data sets as one, each with a share of every class.

    Args:
        parts: of one image shape.
        share: of each.
        seed: of the choice.
    """
    chosen = [part if share == 1 else divided(part, "test", seed, share) for part in parts]
    return replace(
        chosen[0],
        name="+".join(part.name for part in parts),
        images=torch.cat([part.images for part in chosen]),
        labels=torch.cat([part.labels for part in chosen]),
    )
