"""The card of a model: what it is, how it was made and what was measured, as one JSON file.

Says nothing that is not in the record of a run; keeps no weights (`models/store.py`).
"""

import math
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

NORMAL_95 = 1.959963984540054  # quantile of the normal distribution for a 95% interval

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]


class CardError(ValueError):
    """A card is not what this version writes; names the file and the field."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95% interval of a proportion.

    Args:
        hits: how many were right.
        count: of how many, at least 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22(158), 1927.
    """
    if not 0 <= hits <= count or count < 1:
        raise ValueError(f"Argument 'hits' must be in 0..count = {count}, not {hits}.")
    share, square = hits / count, NORMAL_95**2
    middle = share + square / (2 * count)
    spread = NORMAL_95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    scale = 1 + square / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


@dataclass(frozen=True, config={"extra": "forbid"})
class Metric:
    """A proportion that was measured: its value, out of how many, and its 95% interval."""

    value: Share
    count: Annotated[int, Field(ge=1)]
    interval: tuple[Share, Share]


def proportion(hits: int, count: int) -> Metric:
    """A `Metric` of `hits` out of `count`."""
    return Metric(value=hits / count, count=count, interval=wilson(hits, count))


@dataclass(frozen=True, config={"extra": "forbid"})
class Card:
    """What a stored model is.

    Attributes:
        name: in the store.
        hash: the content hash of its program, 64 hex digits.
        dataset: the name that `models.data.load` takes; "" for none.
        title, note: of that data set.
        dataset_sha256: of the training images and labels, as bytes.
        network, options: what `models.networks.make` takes.
        input_shape: (c, h, w).
        classes: names of the logits.
        metrics: by name, such as "test_accuracy".
        recipe: the settings of the training.
        start: the model that the training began with; "" for fresh weights.
        start_hash: content hash of that model's program.
        seed: of weights and order.
        versions: of Python and the packages that matter.
        device: what it was trained on.
        wall_time_s: how long that took.
    """

    name: str
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    dataset: str
    network: str
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    title: str = ""
    note: str = ""
    dataset_sha256: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    start_hash: str = ""
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    wall_time_s: float | None = None
    format: Literal[1] = 1  # of this file; another number is another layout


_CARD = TypeAdapter(Card)


def to_json(card: Card) -> bytes:
    """A card as the bytes of its file."""
    return _CARD.dump_json(card, indent=2) + b"\n"


def read_card(path: Path) -> Card:
    """Read and check a card.

    Raises:
        CardError: not a card; one line a problem, each naming its field.
    """
    return read_checked(path, _CARD)


def read_checked(path: Path, kind: TypeAdapter[T]) -> T:
    """Read a JSON file of a kind.

    Raises:
        CardError: it is not of that kind; one line a problem, each naming its field.
    """
    try:
        return kind.validate_json(path.read_bytes())
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise CardError(f"{path}: {problems}") from error
