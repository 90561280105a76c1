"""The data sets known by name: digits, MNIST, Fashion-MNIST and CIFAR-10.

Digits come with scikit-learn. The others are looked for in a folder of the user's (KOFN_DATA),
then in the user's cache, and are downloaded once from the data sets' own mirrors, checked by
checksum. Nothing is unpickled: CIFAR-10 is read from its binary version.
"""

import hashlib
import io
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pooch
import torch
from PIL import Image

from models.data.dataset import (
    DataError,
    DataSet,
    DataUnavailable,
    Split,
    divided,
    scaled,
)
from models.data.idx import read_idx

MIRRORS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "cifar-10": "https://www.cs.toronto.edu/~kriz/",
}
IDX_FILES: dict[str, dict[str, str]] = {  # file -> SHA-256
    "mnist": {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    },
}
TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
CLOTHES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
DIGITS = tuple(str(digit) for digit in range(10))

CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # the only checksum its authors publish
CIFAR_JPEG = "cifar10-jpeg-q75.npz"
CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes of an image in the binary version: class, then planes
JPEG_TITLE = "CIFAR-10 (JPEG q75)"
JPEG_NOTE = (
    "JPEG copies of quality 75 with halved colour resolution: 2 to 3 points less accuracy than "
    "with the original images, so not to be compared with published CIFAR-10 figures."
)


def cache_folder() -> Path:
    """Where downloads and decoded images are kept: the platform's cache folder of this user."""
    return Path(pooch.os_cache("kofn")) / "data"


def digits(split: Split, root: Path | None) -> DataSet:
    """The 1797 8x8 digits that scikit-learn brings along; a fifth of each class for testing."""
    from sklearn.datasets import load_digits  # takes a second, and only this set needs it

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.float32).div_(16).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    return divided(DataSet("digits", "Digits 8x8", "", images, labels, DIGITS), split)


def mnist(split: Split, root: Path | None) -> DataSet:
    """70,000 handwritten digits, 28x28."""
    return _idx_set("mnist", split, root, DIGITS)


def fashion_mnist(split: Split, root: Path | None) -> DataSet:
    """70,000 pictures of clothes, 28x28."""
    return _idx_set("fashion-mnist", split, root, CLOTHES)


def cifar10(split: Split, root: Path | None) -> DataSet:
    """60,000 colour pictures, 32x32: the original, or JPEG copies where a folder has only those."""
    folder = root / "cifar-10" if root else None
    original = folder and folder / CIFAR_ARCHIVE
    copies = folder and folder / CIFAR_JPEG
    if copies and copies.is_file() and not (original and original.is_file()):
        pixels, labels = _joined([_jpegs(copies, part) for part in _parts(split)])
        title, note = JPEG_TITLE, JPEG_NOTE
    else:
        path = _found("cifar-10", CIFAR_ARCHIVE, f"md5:{CIFAR_MD5}", root)
        pixels, labels = _joined([_binary(path, part) for part in _parts(split)])
        title, note = "CIFAR-10", ""
    return DataSet("cifar10", title, note, scaled(pixels), torch.from_numpy(labels), CIFAR_CLASSES)


KNOWN = {"digits": digits, "mnist": mnist, "fashion-mnist": fashion_mnist, "cifar10": cifar10}

Pixels = npt.NDArray[np.uint8]  # [m, c, h, w]
Labels = npt.NDArray[np.int64]  # [m]


def _parts(split: Split) -> tuple[str, ...]:
    return ("train", "test") if split == "all" else (split,)


def _joined(parts: list[tuple[Pixels, Labels]]) -> tuple[Pixels, Labels]:
    pixels, labels = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _idx_set(name: str, split: Split, root: Path | None, classes: tuple[str, ...]) -> DataSet:
    parts: list[tuple[Pixels, Labels]] = []
    for part in _parts(split):
        arrays = []
        for kind, dimensions in (("images-idx3", (3,)), ("labels-idx1", (1,))):
            file = f"{'train' if part == 'train' else 't10k'}-{kind}-ubyte.gz"
            path = _found(name, file, f"sha256:{IDX_FILES[name][file]}", root)
            arrays.append(read_idx(path, dimensions))
        parts.append((arrays[0][:, None], arrays[1].astype(np.int64)))
    pixels, labels = _joined(parts)
    return DataSet(name, TITLES[name], "", scaled(pixels), torch.from_numpy(labels), classes)


def _found(folder: str, file: str, checksum: str, root: Path | None) -> Path:
    """The file in the user's folder, else from the cache, else downloaded; always checked."""
    if root and (root / folder / file).is_file():
        path = root / folder / file
        algorithm, _, expected = checksum.partition(":")
        actual = pooch.file_hash(str(path), alg=algorithm)
        if actual != expected:
            raise DataError(f"{path}: must have {checksum}, not {actual}.")
        return path
    url = MIRRORS[folder] + file
    try:
        return Path(pooch.retrieve(url, checksum, fname=file, path=cache_folder() / folder))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a checksum a ValueError
        raise DataUnavailable(
            f"{file} could not be fetched from {url}: {error}. "
            f"Put it into a folder {folder!r} and name the folder above it in KOFN_DATA."
        ) from error


def _binary(path: Path, part: str) -> tuple[Pixels, Labels]:
    """One split out of the binary version, read in place: nothing is unpacked to the disk."""
    names = ["test_batch"] if part == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    records = []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for name in names:
                member = archive.extractfile(f"cifar-10-batches-bin/{name}.bin")
                data = member.read() if member else b""
                if not data or len(data) % CIFAR_RECORD:
                    raise DataError(
                        f"{path}: {name}.bin is not made of {CIFAR_RECORD}-byte images."
                    )
                records.append(np.frombuffer(data, np.uint8).reshape(-1, CIFAR_RECORD))
    except (KeyError, tarfile.TarError, EOFError) as error:
        raise DataError(f"{path}: is not CIFAR-10's binary version: {error}") from error
    joined = np.concatenate(records)
    return joined[:, 1:].reshape(-1, 3, 32, 32), joined[:, 0].astype(np.int64)


def _jpegs(path: Path, part: str) -> tuple[Pixels, Labels]:
    """One split of the JPEG copies; decoding takes seconds, so its result is kept in the cache."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    cached = cache_folder() / "decoded" / f"{path.stem}-{part}-{digest[:16]}.npy"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = arrays[f"y_{part}"].astype(np.int64)
            if cached.is_file():
                return np.load(cached, allow_pickle=False), labels
            stream, offsets = arrays[f"jpeg_{part}"].tobytes(), arrays[f"offsets_{part}"].tolist()
    except (KeyError, ValueError, EOFError) as error:
        raise DataError(f"{path}: is not the file that it is named after: {error}") from error
    pixels = np.empty((len(labels), 32, 32, 3), np.uint8)
    for index, picture in enumerate(pixels):
        with Image.open(io.BytesIO(stream[offsets[index] : offsets[index + 1]])) as image:
            picture[:] = np.asarray(image.convert("RGB"))
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    _keep(cached, planes)
    return planes, labels


def _keep(path: Path, array: Pixels) -> None:
    """Write whole or not at all: another process may be reading, or writing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, array)
        Path(temporary).replace(path)
    except BaseException:  # an interrupt too must leave no half file behind
        Path(temporary).unlink(missing_ok=True)
        raise
