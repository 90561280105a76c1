"""What table files have in common: base models, seeds, and names that follow from descriptions.

A file of `bench/tables` names its kind; each kind has a description of its own (`bench.tabling`).
"""

import hashlib
import json
import tomllib
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

TABLES = Path(__file__).resolve().parent / "tables"
STRICT = ConfigDict(extra="forbid")


@checked(frozen=True, config=STRICT)
class BaseModel:
    """A base model of a table: the arguments of `training.base.Plan`."""

    dataset: str
    network: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    recipe: dict[str, Any] = field(default_factory=dict)


@checked(frozen=True, config=STRICT)
class Shipped:
    """A base model that comes with the package.

    Attributes:
        dataset: whose it is.
        shipped: its name.
    """

    dataset: str
    shipped: str


def content_of(name: str) -> dict[str, Any]:
    """What bench/tables/NAME.toml says.

    Raises:
        FileNotFoundError: there is none.
    """
    path = TABLES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in TABLES.glob("*.toml")))
        raise FileNotFoundError(f"There is no table {name!r}, only {known}.")
    return tomllib.loads(path.read_text("utf-8"))


def base_name(model: str, base: BaseModel | Shipped, seed: int) -> str:
    """Of a base model in a store: another description has another name.

    Args:
        model: what the table calls it.
    """
    if isinstance(base, Shipped):
        return base.shipped
    return f"{model}-{digest([asdict(base), seed])}"


Base = TypeVar("Base", bound=BaseModel | Shipped)


def shortened(base: Base, most_epochs: int | None) -> Base:
    """A base model that is trained for no more than so many epochs."""
    if isinstance(base, BaseModel):
        return replace(base, epochs=fewer(base.epochs, most_epochs))
    return base


def fewer(epochs: int | None, most: int | None) -> int | None:
    """The smaller of two numbers of epochs, where None is the usual one."""
    return epochs if most is None else min(epochs or most, most)


def digest(value: object) -> str:
    """Eight digits that stand for plain values."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON keeps it."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(value)))
    return found
