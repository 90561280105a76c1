"""The model store: one folder a name, with the program, its weights and its card.

A folder appears whole or not at all, and a name never comes to mean another program unless that
is asked for. Knows nothing of networks or training. In the query's way: nowhere; the master reads
a program here when it starts a deployment.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import pooch
from safetensors.torch import load_file
from torch import Tensor

from models.archive import content_hash
from models.cards import Card, read_card, to_json
from models.folder import (
    NameTaken,
    UnknownModel,
    checked_name,
    find,
    names_in,
    put,
    unknown,
    weights_bytes,
)
from models.trained import TrainedCodes

__all__ = ["NameTaken", "Store", "UnknownModel"]

PROGRAM, WEIGHTS, CARD = "program.pt2", "model.safetensors", "card.json"
CODES = ".codes"
SHIPPED = Path(__file__).parent / "shipped"  # what comes with the package; `make checkpoints`


class Store:
    """Models by name, in a folder, over those that came with the package.

    Args:
        root: default $KOFN_STORE, else the platform's cache folder of this user. Made when first
            saved to.
        shipped: a folder that is only read from, for names that `root` does not have; None: none.
    """

    def __init__(self, root: Path | None = None, *, shipped: Path | None = SHIPPED) -> None:
        named = os.environ.get("KOFN_STORE")
        default = Path(named) if named else Path(pooch.os_cache("kofn")) / "models"
        self.root = root if root is not None else default
        self._shipped = shipped

    @property
    def codes(self) -> TrainedCodes:
        """What was trained for these models: learned codes, parity models, students."""
        shipped = None if self._shipped is None else self._shipped / CODES
        return TrainedCodes(self.root / CODES, shipped=shipped)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def names(self) -> tuple[str, ...]:
        """Every model here, in alphabetical order."""
        return names_in(CARD, self.root, self._shipped)

    def save(
        self,
        name: str,
        archive: bytes,
        card: Card,
        *,
        weights: Mapping[str, Tensor] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Keep a program. Saving the same program again changes nothing.

        Args:
            name: letters, digits, '.', '_', '+' and '-'.
            archive: the program, as of `export_program`.
            card: its card; name and hash must agree with the others.
            weights: the module's state, for those who train on.
            overwrite: let the name stand for this program from now on.

        Returns:
            The model's folder.

        Raises:
            NameTaken: the name has another program, and `overwrite` is not set.
            ProgramRefused: the archive is not a program.
            ValueError: a bad name, or a card of something else.
        """
        folder = self.root / checked_name(name)
        actual = content_hash(archive)
        if (card.name, card.hash) != (name, actual):
            raise ValueError(
                f"The card must be of {name!r} with hash {actual}, not of {card.name!r} "
                f"with {card.hash}."
            )
        if name in self.names() and not overwrite:
            known, kept = self._known(name), self.card(name).hash
            if kept == actual:
                return known
            raise NameTaken(
                f"Model {name!r} is kept in {known.parent} with hash {kept[:12]}, and this one "
                f"has {actual[:12]}: choose another name, or overwrite it."
            )
        files = {PROGRAM: archive, CARD: to_json(card)}
        if weights is not None:
            files[WEIGHTS] = weights_bytes(weights)
        put(folder, files, CARD, overwrite=overwrite)
        return folder

    def archive(self, name: str) -> bytes:
        """A model's program, as it was saved. Whoever loads it vets it.

        Raises:
            UnknownModel: no such name.
        """
        return (self._known(name) / PROGRAM).read_bytes()

    def card(self, name: str) -> Card:
        """A model's card.

        Raises:
            UnknownModel: no such name.
            CardError: the file is not a card.
        """
        return read_card(self._known(name) / CARD)

    def weights(self, name: str) -> dict[str, Tensor]:
        """A model's state, to train on from, on the CPU.

        Raises:
            UnknownModel: no such name, or saved without its weights.
        """
        path = self._known(name) / WEIGHTS
        if not path.is_file():
            raise UnknownModel(f"Model {name!r} was saved without its weights.")
        state: dict[str, Tensor] = load_file(path)
        return state

    def _known(self, name: str) -> Path:
        folder = find(name, CARD, self.root, self._shipped)
        if folder is None:
            raise unknown("model", name, self.names(), self.root)
        return folder
