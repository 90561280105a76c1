"""The model store: one folder a name, with the program, its weights and its card.

A folder appears whole or not at all, and a name never comes to mean another program unless that
is asked for. Knows nothing of networks or training. In the query's way: nowhere; the master reads
a program here when it starts a deployment.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import pooch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.archive import content_hash
from models.cards import Card, read_card, to_json

PROGRAM, WEIGHTS, CARD = "program.pt2", "model.safetensors", "card.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class UnknownModel(LookupError):
    """The store has no model of that name; the text names the nearest."""


class NameTaken(ValueError):
    """The name stands for another program already."""


class Store:
    """Models by name, in a folder.

    Args:
        root: default $KOFN_STORE, else the platform's cache folder of this user. Made when first
            saved to.
    """

    def __init__(self, root: Path | None = None) -> None:
        named = os.environ.get("KOFN_STORE")
        default = Path(named) if named else Path(pooch.os_cache("kofn")) / "models"
        self.root = root if root is not None else default

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def names(self) -> tuple[str, ...]:
        """Every model here, in alphabetical order."""
        return tuple(sorted(path.parent.name for path in self.root.glob(f"*/{CARD}")))

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
            name: letters, digits, '.', '_' and '-'.
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
        folder = self._folder(name)
        actual = content_hash(archive)
        if (card.name, card.hash) != (name, actual):
            raise ValueError(
                f"The card must be of {name!r} with hash {actual}, not of {card.name!r} "
                f"with {card.hash}."
            )
        if name in self.names() and not overwrite:
            kept = self.card(name).hash
            if kept == actual:
                return folder
            raise NameTaken(
                f"Model {name!r} is kept in {self.root} with hash {kept[:12]}, and this one has "
                f"{actual[:12]}: choose another name, or overwrite it."
            )
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.root) as temporary:
            fresh = Path(temporary) / "fresh"
            fresh.mkdir()
            (fresh / PROGRAM).write_bytes(archive)
            (fresh / CARD).write_bytes(to_json(card))
            if weights is not None:
                save_file({key: _plain(value) for key, value in weights.items()}, fresh / WEIGHTS)
            _put(fresh, folder, Path(temporary) / "old", overwrite)
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
        known = self.names()
        if name in known:
            return self._folder(name)
        nearest = get_close_matches(name, known, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownModel(
            f"There is no model {name!r} in {self.root}.{hint} Known: {', '.join(known) or 'none'}."
        )

    def _folder(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"Argument 'name' must be letters, digits, '.', '_' and '-', not {name!r}."
            )
        return self.root / name


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def _put(fresh: Path, folder: Path, old: Path, overwrite: bool) -> None:
    """Rename the new folder into place: a reader sees the old one whole or the new one whole."""
    if overwrite and (folder / CARD).is_file():
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError as error:  # another process was faster, or a folder without a card is there
        raise NameTaken(f"{folder} is there already, and is left as it is.") from error
