"""Images and labels: data sets known by name, and files of the user's own.

`load` gives one split of a data set, `load_images` single images to ask a model about. Values are
float32 in 0..1; normalisation is inside the networks. Does not shuffle, batch or augment.
"""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from models.data.dataset import (
    VALIDATION_SEED,
    VALIDATION_SHARE,
    DataError,
    DataSet,
    DataUnavailable,
    Split,
    divided,
)
from models.data.files import folder, idx_pair, load_images, npz
from models.data.known import KNOWN, cache_folder
from models.data.wishart import matrices
from models.functions import TARGETS

__all__ = [
    "KNOWN",
    "DataError",
    "DataSet",
    "DataUnavailable",
    "Split",
    "cache_folder",
    "load",
    "load_images",
]

ACCEPTED = (
    f"{', '.join(KNOWN)}, wishart-SIZE-FUNCTION, idx:IMAGES,LABELS, a .npz file, or a folder of "
    f"images"
)


def load(name: str, split: Split = "train", root: Path | None = None) -> DataSet:
    """Load one split of a data set.

    Args:
        name: digits, mnist, fashion-mnist, cifar10; wishart-4-determinant and the like, matrices
            with the values of a function (`models.functions`); "idx:IMAGES,LABELS" (two files); a
            path to a .npz file with arrays images/x and labels/y; or a folder of PNG or JPEG files,
            one subfolder a class or all in one.
        split: "train", "test" or "all"; or of "train" a fixed tenth of each class, "validation",
            and the rest, "learning". A user's own files come in one piece: a fixed fifth of each
            class is "test".
        root: a folder that has mnist/, fashion-mnist/, cifar-10/; default $KOFN_DATA. What it
            lacks is downloaded into the user's cache.

    Raises:
        DataError: an unknown name, or files that are not what they should be.
        DataUnavailable: a known data set that is not here and cannot be downloaded.
    """
    if split not in get_args(Split):
        raise DataError(f"Argument 'split' must be one of {get_args(Split)}, not {split!r}.")
    if split in ("learning", "validation"):
        part: Split = "test" if split == "validation" else "train"
        return divided(load(name, "train", root), part, VALIDATION_SEED, VALIDATION_SHARE)
    if name in KNOWN:
        if root is None and os.environ.get("KOFN_DATA"):
            root = Path(os.environ["KOFN_DATA"])
        return KNOWN[name](split, root)
    if name in TARGETS:
        return matrices(TARGETS[name], split)
    return divided(_own(name), split)


def _own(name: str) -> DataSet:
    if name.startswith("idx:"):
        images, comma, labels = name.removeprefix("idx:").partition(",")
        if not comma:
            raise DataError(f"{name}: must name two files, idx:IMAGES,LABELS.")
        return idx_pair(name, Path(images), Path(labels))
    path = Path(name)
    if path.suffix == ".npz":
        return npz(name, path)
    if path.is_dir():
        return folder(name, path)
    nearest = get_close_matches(name, [*KNOWN, *TARGETS], n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise DataError(f"Unknown data set {name!r}.{hint} Accepted: {ACCEPTED}.")
