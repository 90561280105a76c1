"""The data sets known by name, where their files are at hand, and how they get there."""

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from models.data import DataError, DataUnavailable, known, load

DATA = Path(os.environ.get("KOFN_DATA", ""))
needs_data = pytest.mark.skipif(
    not (DATA / "mnist").is_dir(), reason="KOFN_DATA names no folder with mnist/ in it"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is read from or written to the user's own cache."""
    monkeypatch.setattr(known, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served in place of the data sets' own mirrors."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in known.MIRRORS:
        monkeypatch.setitem(known.MIRRORS, name, f"http://127.0.0.1:{server.server_port}/")
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


@needs_data
@pytest.mark.parametrize(
    ("name", "mean", "first"), [("mnist", 0.1325, 7), ("fashion-mnist", 0.2868, 9)]
)
def test_idx_sets(name: str, mean: float, first: int) -> None:
    test = load(name, "test")
    assert test.images.shape == (10_000, 1, 28, 28)
    assert float(test.images.mean()) == pytest.approx(mean, abs=1e-4)
    assert int(test.labels[0]) == first
    assert len(test.classes) == 10
    assert test.note == ""


@needs_data
def test_cifar_from_jpeg_copies_says_so_and_is_decoded_once(cache: Path) -> None:
    test = load("cifar10", "test")
    assert test.title == "CIFAR-10 (JPEG q75)"
    assert "not to be compared" in test.note
    assert test.labels.bincount().tolist() == [1000] * 10
    assert torch.equal(test.labels[:10], torch.arange(10))
    (kept,) = (cache / "decoded").iterdir()
    pixels = np.ascontiguousarray(np.load(kept).transpose(0, 2, 3, 1))
    assert hashlib.sha256(pixels.tobytes()).hexdigest().startswith("5fce8f6a84d7de12")
    before = kept.stat().st_mtime_ns
    assert torch.equal(load("cifar10", "test").images, test.images)
    assert kept.stat().st_mtime_ns == before


@needs_data
def test_a_data_set_is_downloaded_once_and_checked(
    mirror: Path, cache: Path, tmp_path: Path
) -> None:
    for kind in ("images-idx3", "labels-idx1"):
        file = f"t10k-{kind}-ubyte.gz"
        (mirror / file).write_bytes((DATA / "mnist" / file).read_bytes())
    empty = tmp_path / "empty"
    test = load("mnist", "test", root=empty)
    assert len(test.images) == 10_000
    for file in mirror.iterdir():
        file.unlink()
    assert torch.equal(load("mnist", "test", root=empty).labels, test.labels)
    assert len(list((cache / "mnist").iterdir())) == 2


def test_a_wrong_download_is_refused(mirror: Path, cache: Path, tmp_path: Path) -> None:
    (mirror / "t10k-images-idx3-ubyte.gz").write_bytes(b"not the file")
    with pytest.raises(DataUnavailable, match=r"t10k-images.*KOFN_DATA"):
        load("mnist", "test", root=tmp_path / "empty")
    assert not list((cache / "mnist").glob("t10k*"))


def test_a_missing_download_says_what_to_do(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"Put it into a folder 'fashion-mnist'"):
        load("fashion-mnist", "test", root=tmp_path / "empty")


def test_a_file_of_another_content_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "mnist"
    folder.mkdir(parents=True)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"other")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: must have sha256:8d42"):
        load("mnist", "test", root=tmp_path / "mine")


def binary(folder: Path, sizes: dict[str, int]) -> Path:
    """An archive laid out like CIFAR-10's binary version, with a few made-up images."""
    path = folder / "cifar-10" / known.CIFAR_ARCHIVE
    path.parent.mkdir(parents=True)
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w:gz") as archive:
        for name, count in sizes.items():
            records = generator.integers(0, 256, (count, known.CIFAR_RECORD), np.uint8)
            records[:, 0] = np.arange(count) % 10
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = records.size
            archive.addfile(member, io.BytesIO(records.tobytes()))
    return path


def test_the_binary_version_of_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {f"data_batch_{i}": 10 for i in range(1, 6)} | {"test_batch": 10}
    path = binary(tmp_path, sizes)
    monkeypatch.setattr(known, "CIFAR_MD5", pooch.file_hash(str(path), alg="md5"))
    train, test = (load("cifar10", split, root=tmp_path) for split in ("train", "test"))
    assert train.images.shape == (50, 3, 32, 32)
    assert test.labels.tolist() == list(range(10))
    assert (test.title, test.note) == ("CIFAR-10", "")
    with tarfile.open(path) as archive:
        member = archive.extractfile("cifar-10-batches-bin/test_batch.bin")
        assert member is not None
        record = np.frombuffer(member.read(), np.uint8)[1 : known.CIFAR_RECORD]
    assert torch.equal(test.images[0].flatten(), torch.from_numpy(record.copy()).float() / 255)


def test_a_broken_binary_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = binary(tmp_path, {"data_batch_1": 1})
    monkeypatch.setattr(known, "CIFAR_MD5", pooch.file_hash(str(path), alg="md5"))
    with pytest.raises(DataError, match="not CIFAR-10's binary version"):
        load("cifar10", "test", root=tmp_path)
