"""`kofn matmul` as a user runs it: on workers of its own."""

import json
from pathlib import Path

import numpy as np
import pytest

from support.commands import kofn

pytestmark = pytest.mark.timeout(120)  # workers import torch, on a busy machine


def test_a_product_of_files(tmp_path: Path) -> None:
    """Within its estimate; nothing but the product is left."""
    noise = np.random.default_rng(0)
    a, b = noise.standard_normal((130, 70)), noise.standard_normal((70, 90))
    files = [str(tmp_path / f"{name}.npy") for name in "ABC"]
    np.save(files[0], a.astype(np.float32))
    np.save(files[1], b.astype(np.float32))
    said = kofn("matmul", *files[:2], "--out", files[2], "--workers", "3", "--json")
    told, _ = json.JSONDecoder().raw_decode(said)  # words to the user come after
    c = np.load(files[2])
    assert np.linalg.norm(c - a @ b) / np.linalg.norm(a @ b) <= told["estimate"] <= 1e-3
    assert told["liars"] == told["failed"] == []
    assert (told["shape"], told["dtype"], told["checked"]) == ([130, 90], "float32", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.npy", "B.npy", "C.npy"]
