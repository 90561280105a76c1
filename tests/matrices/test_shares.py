"""Shares that are made while they are sent: the same as made at once, whoever lags."""

from pathlib import Path

import numpy as np
import pytest

from codes.polydot import Product, energies
from kofn.matrices import shares
from kofn.matrices.shares import Shares


@pytest.mark.parametrize("code", [Product(3, 1, 2, 8), Product(2, 2, 2, 6)], ids=repr)
def test_pieces_are_shares(code: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file that is mapped, a panel of two rows at a time; the last node lags behind."""
    monkeypatch.setattr(shares, "CHUNK_BYTES", 2 * 24 * 4 * code.rows_per_node)
    monkeypatch.setattr(shares, "PANELS_BYTES", 0)
    a = np.random.default_rng(0).standard_normal((50, 24)).astype(np.float32)
    np.save(tmp_path / "a.npy", a)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    made = Shares(mapped, code.mixing.of_a, 0)
    expected = code.encode_a(a)
    streams = [made.of(node).pieces() for node in range(code.nodes)]
    got = [b""] * code.nodes
    for _ in range(40):  # more than there are pieces
        for node in range(code.nodes - 1):
            got[node] += next(streams[node], b"")
    got[-1] = b"".join(streams[-1])
    for node, share in enumerate(expected):
        sent = np.frombuffer(got[node], made.dtype).reshape(made.height, made.width)
        np.testing.assert_allclose(sent, share, rtol=1e-6)
        np.testing.assert_allclose(made.energies[node], energies(share, 0), rtol=1e-5)
    assert made.sent_bytes == code.nodes * made.size_bytes
    assert not made._panels


def test_rows_of_the_other_operand() -> None:
    """Its energies are of rows, and made once, though shares are sent again."""
    code = Product(1, 2, 1, 4)
    b = np.random.default_rng(1).standard_normal((9, 5))
    made = Shares(b, code.mixing.of_b, 1)
    for _ in range(2):
        for node, share in enumerate(code.encode_b(b)):
            sent = np.frombuffer(b"".join(made.of(node).pieces())).reshape(share.shape)
            np.testing.assert_allclose(sent, share, rtol=0, atol=1e-14)
            np.testing.assert_allclose(made.energies[node], energies(share, 1), rtol=1e-12)
