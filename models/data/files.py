"""Data of the user's own: IDX pairs, .npz files, folders of images, single images and arrays."""

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from models.data.dataset import DataError, DataSet, scaled
from models.data.idx import read_idx

PICTURES = (".png", ".jpg", ".jpeg")
IMAGE_KEYS = ("images", "x")
LABEL_KEYS = ("labels", "y")
MODES = {1: "L", 3: "RGB"}  # Pillow's mode by number of channels
UNLABELLED = torch.empty(0, dtype=torch.int64)


def idx_pair(name: str, images: Path, labels: Path) -> DataSet:
    """Two IDX files: images [m, h, w] or [m, c, h, w], and labels [m].

    Raises:
        DataError: one of them is something else, or they do not fit each other.
    """
    pixels = read_idx(images, (3, 4))
    numbers = torch.from_numpy(read_idx(labels, (1,)).astype(np.int64))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels
    return DataSet(name, images.name, "", scaled(pixels), numbers, _classes(numbers))


def npz(name: str, path: Path) -> DataSet:
    """Arrays `images` or `x`, `labels` or `y`, and, if there, `class_names`.

    Images are [m, h, w], [m, c, h, w] or [m, h, w, c], bytes or floats in 0..1.

    Raises:
        DataError: no such arrays, or arrays that do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: must be an .npz file of plain arrays: {error}") from error
    images = next((found[key] for key in IMAGE_KEYS if key in found), None)
    labels = next((found[key] for key in LABEL_KEYS if key in found), None)
    if images is None:
        raise DataError(
            f"{path}: must have an array {' or '.join(map(repr, IMAGE_KEYS))}, "
            f"it has {', '.join(sorted(found)) or 'none'}."
        )
    numbers = UNLABELLED
    if labels is not None:
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(
                f"{path}: labels must be whole numbers [m], not {labels.dtype} {labels.shape}."
            )
        numbers = torch.from_numpy(labels.astype(np.int64))
    names = tuple(str(entry) for entry in found.get("class_names", ()))
    return DataSet(
        name, path.name, "", _from_array(images, path, None), numbers, names or _classes(numbers)
    )


def folder(name: str, path: Path) -> DataSet:
    """A folder of PNG and JPEG files of one size: one subfolder a class, or all in one, unlabelled.

    Raises:
        DataError: no images, or images of several sizes.
    """
    subfolders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    flat = _pictures(path)
    if subfolders and flat:
        raise DataError(f"{path}: must have images or one subfolder a class, not both.")
    files = [(file, label) for label, sub in enumerate(subfolders) for file in _pictures(sub)]
    paths = flat or [file for file, _ in files]
    if not paths:
        raise DataError(f"{path}: has no images; accepted: {', '.join(PICTURES)}.")
    first = _opened(paths[0])
    shape = (1 if first.mode in ("1", "L") else 3, first.height, first.width)
    labels = UNLABELLED if flat else torch.tensor([label for _, label in files])
    classes = () if flat else tuple(sub.name for sub in subfolders)
    return DataSet(name, path.name, "", load_images(paths, shape), labels, classes)


def load_images(paths: Sequence[Path], input_shape: Sequence[int], resize: bool = False) -> Tensor:
    """Read images that a model is to be asked about.

    Args:
        paths: PNG and JPEG files of one image each, and .npy files of one or several:
            [h, w], [c, h, w], [h, w, c], or those with a leading [m].
        input_shape: (c, h, w) that the model takes. Colours are turned to grey for c = 1, and
            grey is repeated for c = 3.
        resize: bring images of another size to (h, w) instead of refusing them.

    Returns:
        float32 [m, c, h, w] in 0..1, in the order of the paths.

    Raises:
        DataError: a file that is no image, or of another size; names it and what is accepted.
    """
    if len(paths) == 0:
        raise DataError("There are no images to read.")
    shape = (input_shape[0], input_shape[1], input_shape[2])
    images = []
    for path in paths:
        if path.suffix.lower() == ".npy":
            try:
                array = np.load(path, allow_pickle=False)
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
            except (ValueError, EOFError) as error:
                raise DataError(
                    f"{path}: must be an .npy file of plain numbers: {error}"
                ) from error
            images.append(_from_array(array, path, shape))
        else:
            images.append(_from_picture(path, shape, resize))
    return torch.cat(images)


def _from_picture(path: Path, shape: tuple[int, int, int], resize: bool) -> Tensor:
    channels, height, width = shape
    if channels not in MODES:
        raise DataError(f"{path}: an image has 1 or 3 channels, the model takes {channels}.")
    image = _opened(path).convert(MODES[channels])
    if (image.width, image.height) != (width, height):
        if not resize:
            raise DataError(
                f"{path}: must be {width}x{height} pixels, not {image.width}x{image.height}."
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return scaled(pixels[None, None] if channels == 1 else pixels.transpose(2, 0, 1)[None])


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings(), Image.open(path, formats=("PNG", "JPEG")) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image.load()
            return image
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: must be a PNG, JPEG or .npy file.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: has too many pixels: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error


def _from_array(
    array: npt.NDArray[np.generic], path: Path, shape: tuple[int, int, int] | None
) -> Tensor:
    """float32 [m, c, h, w] out of the layouts in use; `shape` decides what is ambiguous."""
    if array.dtype.kind not in "uf" or (array.dtype.kind == "u" and array.dtype != np.uint8):
        raise DataError(f"{path}: must hold bytes or floats in 0..1, not {array.dtype}.")
    if array.size == 0:
        raise DataError(f"{path}: is empty.")
    arranged = _arranged(array, shape)
    if arranged is None:
        accepted = f"[m, {', '.join(map(str, shape))}]" if shape else "[m, c, h, w]"
        raise DataError(f"{path}: must have shape {accepted}, not {list(array.shape)}.")
    if arranged.dtype == np.uint8:
        return scaled(arranged.astype(np.uint8))
    images = torch.from_numpy(np.ascontiguousarray(arranged, dtype=np.float32))
    if not bool(((images >= 0) & (images <= 1)).all()):  # not a number is not in between either
        raise DataError(f"{path}: floats must be in 0..1; are these 0..255? Save them as bytes.")
    return images


def _arranged(
    array: npt.NDArray[np.generic], shape: tuple[int, int, int] | None
) -> npt.NDArray[np.generic] | None:
    if shape is None:
        if array.ndim == 3:
            return array[:, None]
        if array.ndim == 4 and array.shape[1] not in MODES and array.shape[3] in MODES:
            return array.transpose(0, 3, 1, 2)
        return array if array.ndim == 4 else None
    channels, height, width = shape
    if array.shape[-3:] == shape and array.ndim in (3, 4):
        return array.reshape(-1, *shape)
    if array.shape[-3:] == (height, width, channels) and array.ndim in (3, 4):
        return array.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    if channels == 1 and array.shape[-2:] == (height, width) and array.ndim in (2, 3):
        return array.reshape(-1, *shape)
    return None


def _pictures(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES)


def _classes(labels: Tensor) -> tuple[str, ...]:
    return tuple(str(label) for label in range(int(labels.max()) + 1)) if len(labels) else ()
