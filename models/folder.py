"""Folders that appear whole or not at all, and weights as bytes: what the stores are made of."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


class UnknownModel(LookupError):
    """The store has nothing of that name; the text names the nearest."""


class NameTaken(ValueError):
    """The name stands for something else already."""


def checked_name(name: str) -> str:
    """A name that may be a folder's.

    Raises:
        ValueError: it is not made of letters, digits, '.', '_', '+' and '-'.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"Argument 'name' must be letters, digits, '.', '_', '+' and '-', not {name!r}."
        )
    return name


def names_in(mark: str, *roots: Path | None) -> tuple[str, ...]:
    """Every whole folder's name in any of these, in alphabetical order.

    Args:
        mark: the file that every whole folder has.
        roots: None has none.
    """
    found = {path.parent.name for root in roots if root for path in root.glob(f"*/{mark}")}
    return tuple(sorted(found))


def find(name: str, mark: str, *roots: Path | None) -> Path | None:
    """The whole folder of a name, in the first of these that has one."""
    if not NAME.fullmatch(name):
        return None  # it could lead out of the folder
    return next((root / name for root in roots if root and (root / name / mark).is_file()), None)


def put(folder: Path, files: Mapping[str, bytes], mark: str, *, overwrite: bool) -> None:
    """Write a folder and rename it into place: a reader sees the old one whole or the new one.

    Args:
        folder: where; its parent is made.
        files: contents by name.
        mark: the file that every whole folder has.
        overwrite: move a whole folder that is there out of the way.

    Raises:
        NameTaken: a folder is there, and stays as it is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        for name, contents in files.items():
            (fresh / name).write_bytes(contents)
        if overwrite and (folder / mark).is_file():
            folder.rename(Path(temporary) / "old")
        try:
            fresh.rename(folder)
        except OSError as error:  # another process was faster, or an odd folder is there
            raise NameTaken(f"{folder} is there already, and is left as it is.") from error


def weights_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Tensors as a safetensors file; those that share memory are written out each."""
    return save({name: t.detach().cpu().contiguous().clone() for name, t in weights.items()})


def unknown(kind: str, name: str, known: Iterable[str], root: Path) -> UnknownModel:
    """An error that says what there is."""
    names = sorted(known)
    nearest = get_close_matches(name, names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return UnknownModel(
        f"There is no {kind} {name!r} in {root}.{hint} Known: {', '.join(names) or 'none'}."
    )
