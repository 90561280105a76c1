"""What all slots at once cost beyond those that answers need."""

import pytest

import codes
from master.gains import Gains


@pytest.mark.parametrize(
    ("name", "sizes", "redundancy"),
    [
        ("uncoded", {"k": 4}, 0.0),
        ("replication", {"k": 4, "n": 8}, 1.0),
        ("replication", {"k": 4, "n": 5}, 0.25),
        ("backup", {"k": 4, "n": 5}, 0.25),
        ("parity", {"k": 4, "n": 6}, 0.5),
        ("lagrange", {"k": 3, "n": 8, "degree": 2}, 0.6),  # R = 5, and no own slots
    ],
)
def test_redundancy(name: str, sizes: dict[str, int], redundancy: float) -> None:
    assert Gains(codes.make(name, **sizes)).redundancy == pytest.approx(redundancy)
