"""Data sets by name and from files: right shapes and values, and errors that name the file."""

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from models.data import DataError, DataSet, load, load_images


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def pixels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (20, 4, 6), np.uint8)


LABELS = np.arange(20, dtype=np.uint8) % 4


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_digits_are_split_once_and_for_all() -> None:
    train, test, whole = (load("digits", split) for split in ("train", "test", "all"))
    assert train.input_shape == (1, 8, 8)
    assert (len(train.images), len(test.images), len(whole.images)) == (1438, 359, 1797)
    assert train.classes == tuple("0123456789")
    assert float(whole.images.min()) == 0
    assert float(whole.images.max()) == 1
    shares = test.labels.bincount() / whole.labels.bincount()
    assert bool(((shares - 0.2).abs() < 0.01).all())
    assert torch.equal(load("digits", "test").images, test.images)
    joined = torch.cat([train.images, test.images]).flatten(1)
    assert {row.tobytes() for row in joined.numpy()} == {
        row.tobytes() for row in whole.images.flatten(1).numpy()
    }


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_pair(tmp_path: Path, pixels: npt.NDArray[np.uint8], zipped: bool) -> None:
    pack = gzip.compress if zipped else bytes
    images = write(tmp_path / "images", pack(idx(pixels)))
    labels = write(tmp_path / "labels", pack(idx(LABELS)))
    whole = load(f"idx:{images},{labels}", "all")
    assert torch.equal(whole.images, torch.from_numpy(pixels[:, None]).float() / 255)
    assert whole.labels.tolist() == LABELS.tolist()
    assert whole.classes == ("0", "1", "2", "3")
    parts = [load(f"idx:{images},{labels}", split) for split in ("train", "test")]
    assert [part.labels.bincount().tolist() for part in parts] == [[4] * 4, [1] * 4]


def test_an_idx_file_that_is_not_one(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    good, labels = idx(pixels), write(tmp_path / "labels", idx(LABELS))
    for data, match in [
        (b"", "must be an IDX file"),
        (b"\x89PNG....", "starts with 89 50 4e 47"),
        (b"\0\0\x0d\x03" + good[4:], "must be an IDX file"),
        (good[:9], "ends within its header"),
        (good[:-1], "must hold 480 bytes .* not 479"),
        (good + b"x", "not more"),
        (idx(LABELS), "3 or 4 dimensions, not 1: are images and labels swapped"),
        (good[:4] + struct.pack(">3I", 1 << 31, 1 << 31, 9) + good[16:], "over the limit"),
        (gzip.compress(good)[:-30], "broken gzip"),
        (idx(pixels[:3]), "3 images, and 20 labels"),
    ]:
        images = write(tmp_path / "images", data)
        with pytest.raises(DataError, match=match):
            load(f"idx:{images},{labels}")
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        load(f"idx:{tmp_path / 'nowhere'},{labels}")
    with pytest.raises(DataError, match="two files"):
        load(f"idx:{labels}")


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels")])
def test_npz(tmp_path: Path, pixels: npt.NDArray[np.uint8], x: str, y: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{x: pixels, y: LABELS.astype(np.int32)})
    grey = load(str(path), "all")
    assert grey.input_shape == (1, 4, 6)
    np.savez(path, **{x: np.repeat(pixels[..., None], 3, axis=3), y: LABELS})
    colour = load(str(path), "all")
    assert colour.input_shape == (3, 4, 6)
    assert torch.equal(colour.images[:, :1], grey.images)
    np.savez(path, **{x: (pixels / 255).astype(np.float32)[:, None]})
    bare = load(str(path), "all")
    assert not bare.is_labelled
    assert bare.classes == ()
    torch.testing.assert_close(bare.images, grey.images)
    assert len(load(str(path), "test").images) == 4


def test_npz_that_does_not_fit(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path = tmp_path / "a.npz"
    for arrays, match in [
        ({"pictures": pixels}, "must have an array 'images' or 'x', it has pictures"),
        ({"x": pixels, "y": LABELS / 2}, "whole numbers"),
        ({"x": pixels, "y": LABELS[:5]}, "20 images, and 5 labels"),
        ({"x": pixels, "y": LABELS.astype(np.int64) - 1}, "labels must be at least 0, not -1"),
        ({"x": pixels, "y": LABELS, "class_names": ["a", "b"]}, r"in 0\.\.1, not 3"),
        ({"x": pixels.astype(np.float32)}, "0..1; are these 0..255"),
        ({"x": np.full((2, 3, 3), np.nan, np.float32)}, "0..1"),
        ({"x": pixels.astype(np.int64)}, "bytes or floats"),
        ({"x": pixels[0]}, "must have shape"),
        ({"x": pixels[:0]}, "empty"),
        ({"x": np.array([object()])}, "plain arrays"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=match):
            load(str(path))
    for data in (b"", b"no zip"):
        with pytest.raises(DataError, match="npz"):
            load(str(write(path, data)))


def picture(path: Path, array: npt.NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def test_a_folder_of_images(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    for index, name in enumerate(["cat", "dog", "cat"]):
        picture(tmp_path / "sorted" / name / f"{index}.png", pixels[index])
        picture(tmp_path / "flat" / f"{index}.png", pixels[index])
    labelled = load(str(tmp_path / "sorted"), "all")
    assert labelled.classes == ("cat", "dog")
    assert labelled.labels.tolist() == [0, 0, 1]
    assert torch.equal(labelled.images[2, 0], torch.from_numpy(pixels[1]).float() / 255)
    flat = load(str(tmp_path / "flat"), "all")
    assert not flat.is_labelled
    assert flat.images.shape == (3, 1, 4, 6)

    picture(tmp_path / "flat" / "3.png", pixels[0][:3])
    with pytest.raises(DataError, match=r"3\.png: must be 6x4 pixels, not 6x3"):
        load(str(tmp_path / "flat"))
    picture(tmp_path / "sorted" / "stray.png", pixels[0])
    with pytest.raises(DataError, match="not both"):
        load(str(tmp_path / "sorted"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images; accepted: \.png"):
        load(str(tmp_path / "empty"))


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(DataError, match=r"Did you mean 'fashion-mnist'\? Accepted: .*idx:"):
        load("fashion-mnst")
    with pytest.raises(DataError, match="split"):
        load("digits", "held-out")  # type: ignore[arg-type]


def test_single_images(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    grey = picture(tmp_path / "grey.png", pixels[0])
    colour = picture(tmp_path / "colour.png", np.stack([pixels[0]] * 3, axis=2))
    array = tmp_path / "many.npy"
    np.save(array, pixels)
    images = load_images([grey, colour, array], (1, 4, 6))
    assert images.shape == (22, 1, 4, 6)
    assert torch.equal(images[0, 0], torch.from_numpy(pixels[0]).float() / 255)
    assert torch.equal(images[2:, 0], torch.from_numpy(pixels).float() / 255)
    assert load_images([grey, colour], (3, 4, 6)).shape == (2, 3, 4, 6)

    channels_last = tmp_path / "last.npy"
    np.save(channels_last, np.stack([pixels[0]] * 3, axis=2))
    assert torch.equal(load_images([channels_last], (3, 4, 6)), load_images([colour], (3, 4, 6)))


def test_single_images_that_do_not_fit(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    grey = picture(tmp_path / "grey.png", pixels[0])
    with pytest.raises(DataError, match=r"grey\.png: must be 8x8 pixels, not 6x4"):
        load_images([grey], (1, 8, 8))
    assert load_images([grey], (1, 8, 8), resize=True).shape == (1, 1, 8, 8)
    with pytest.raises(DataError, match="1 or 3 channels, the model takes 4"):
        load_images([grey], (4, 4, 6))
    with pytest.raises(DataError, match=r"text\.png: must be a PNG, JPEG or \.npy"):
        load_images([write(tmp_path / "text.png", b"hello")], (1, 4, 6))
    with pytest.raises(DataError, match=r"short\.png: cannot be read as an image"):
        load_images([write(tmp_path / "short.png", grey.read_bytes()[:45])], (1, 4, 6))
    with pytest.raises(DataError, match=r"none\.png: cannot be read"):
        load_images([tmp_path / "none.png"], (1, 4, 6))
    with pytest.raises(DataError, match=r"none\.npy: cannot be read"):
        load_images([tmp_path / "none.npy"], (1, 4, 6))
    np.save(tmp_path / "wide.npy", pixels)
    with pytest.raises(DataError, match=r"\[m, 1, 8, 8\], not \[20, 4, 6\]"):
        load_images([tmp_path / "wide.npy"], (1, 8, 8))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="plain numbers"):
        load_images([tmp_path / "object.npy"], (1, 4, 6))
    with pytest.raises(DataError, match="no images"):
        load_images([], (1, 4, 6))


def test_a_data_set_checks_itself() -> None:
    images, labels = torch.zeros(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64)
    assert DataSet("a", "A", "", images, labels, ("x",))
    for wrong_images, wrong_labels, match in [
        (images.double(), labels, "float32"),
        (images[0], labels, "m, c, h, w"),
        (images, labels.float(), "int64"),
        (images, labels + 1, r"0\.\.0, not 1"),
        (images, labels[:1], "2 images, and 1 labels"),
    ]:
        with pytest.raises(DataError, match=match):
            DataSet("a", "A", "", wrong_images, wrong_labels, ("x",))


def test_validation_is_a_tenth_of_the_training_images_and_learning_the_rest() -> None:
    train, test = load("digits", "train"), load("digits", "test")
    learning, validation = load("digits", "learning"), load("digits", "validation")
    assert len(learning.images) + len(validation.images) == len(train.images)
    assert abs(len(validation.images) - len(train.images) / 10) < len(train.classes)

    def seen(images: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    assert seen(learning.images) | seen(validation.images) == seen(train.images)
    assert not seen(validation.images) & seen(learning.images)
    assert not seen(validation.images) & seen(test.images)
