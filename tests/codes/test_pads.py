"""Private pads: answers do not show them, and shards show nothing else."""

import re
from itertools import combinations

import numpy as np
import pytest
import torch

from codes.calibrated import Calibrated, measure_moments
from codes.lagrange import Lagrange
from codes.parity import Parity
from codes.verify import subsets


def squares(x: torch.Tensor) -> torch.Tensor:
    weights = torch.randn(6, 4, generator=torch.Generator().manual_seed(5))
    return (x @ weights + 0.3).square() - x.sum(-1, keepdim=True)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CASES = [
    Lagrange(2, 8, 2, pads=1, offset=0.0625),
    Lagrange(3, 12, 2, pads=1, offset=0.5),
    Lagrange(2, 12, 2, pads=2, offset=0.25),
    Lagrange(3, 12, 2, pads=2, points="first"),
    Lagrange(4, 16, 2, "first", homogeneous=False, pads=3),
]


@pytest.mark.parametrize("code", CASES, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_answers_are_exact_whatever_the_pads(code: Lagrange, scale: float) -> None:
    """From any R slots: R counts the pads."""
    queries, pads = noise(3, code.k, 6), scale * noise(3, code.pads, 6, seed=1)
    shards = code.encode(queries, pads)
    results = [squares(shard) for shard in shards]
    for slots in subsets(code.n, code.recovery_threshold, 30):
        decoded = code.decode([results[slot] for slot in slots], slots)
        largest = max(float(result.abs().max()) for result in results)
        limit = 1e-6 * max(1.0, float(code.gain(slots).max())) * largest
        np.testing.assert_allclose(decoded, squares(queries), rtol=0, atol=limit)


def test_the_threshold_counts_pads() -> None:
    """(k + T - 1) d + 1, and one point more where that number is even on the circle."""
    assert Lagrange(3, 16, 2, pads=2, offset=0.25).recovery_threshold == 9
    assert Lagrange(3, 16, 2, pads=1, offset=0.25).recovery_threshold == 9
    assert Lagrange(3, 16, 2, "first", pads=1).recovery_threshold == 7
    with pytest.raises(ValueError, match="R of k = 3 and degree = 2 = 9, not 8"):
        Lagrange(3, 8, 2, pads=2)


@pytest.mark.parametrize("code", CASES, ids=str)
def test_any_t_slots_hold_t_independent_mixes_of_the_pads(code: Lagrange) -> None:
    """So that no combination of their shards is free of pads."""
    queries = torch.zeros(1, code.k, code.pads)
    pads = torch.eye(code.pads, dtype=torch.float64)[None]
    shards = torch.stack([shard[0] for shard in code.encode(queries.double(), pads)])
    for slots in combinations(range(code.n), code.pads):
        smallest = float(torch.linalg.svdvals(shards[list(slots)])[-1])
        assert smallest > 1e-5, slots


def test_large_pads_drown_the_queries() -> None:
    """A shard of one query tells nothing apart from that of another."""
    code = CASES[0]
    zeros, ones = torch.zeros(4000, 2, 1), torch.ones(4000, 2, 1)
    first = code.encode(zeros, 1000 * noise(4000, 1, 1, seed=1))
    second = code.encode(ones, 1000 * noise(4000, 1, 1, seed=2))
    for one, other in zip(first, second, strict=True):
        spread = float(one.std())
        assert float((one.mean() - other.mean()).abs()) < 0.1 * spread
        assert 0.9 < float(other.std()) / spread < 1.1


def test_the_documented_weights_of_pads_are_right() -> None:
    """Of the slot that is hidden least, at the best offsets of a sixteenth."""
    for n, stated in ((5, 0.17), (8, 0.11)):
        least = []
        for sixteenth in range(16):
            try:
                code = Lagrange(2, n, pads=1, offset=sixteenth / 16)
            except ValueError:
                continue
            shards = code.encode(torch.zeros(1, 2, 1), torch.ones(1, 1, 1))
            least.append(code.pad_weight)
            assert min(abs(float(shard)) for shard in shards) == pytest.approx(code.pad_weight)
        assert max(least) == pytest.approx(stated, abs=0.006)


def test_none_means_zeros() -> None:
    code = CASES[1]
    queries = noise(2, 3, 6)
    plain, padded = code.encode(queries), code.encode(queries, torch.zeros(2, 1, 6))
    assert all(torch.equal(a, b) for a, b in zip(plain, padded, strict=True))
    other = code.encode(queries, torch.ones(2, 1, 6))
    assert not any(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


def test_a_liar_is_found_through_pads() -> None:
    code = CASES[0]  # R = 5, of 8 slots
    results = [squares(s) for s in code.encode(noise(2, 2, 6), noise(2, 1, 6, seed=3))]
    assert code.locate(results, range(8), 1) == ()
    for liar in range(8):
        told = [-y if slot == liar else y for slot, y in enumerate(results)]
        assert code.locate(told, range(8), 1) == (liar,)


def test_a_slot_on_a_point_is_refused_and_what_is_suggested_is_accepted() -> None:
    """By the name of the field."""
    with pytest.raises(ValueError, match=r"'offset' must not put a slot on.*take") as refused:
        Lagrange(2, 6, pads=1)
    suggested = float(re.findall(r"take ([0-9.]+)\.", str(refused.value))[0])
    code = Lagrange(2, 6, pads=1, offset=suggested)
    used = np.concatenate([code.query_points, code.pad_points])
    assert np.abs(code.slot_points[:, None] - used).min() > 0.05
    with pytest.raises(ValueError, match="'n' must not put a slot on"):
        Lagrange(2, 9, points="first", pads=1)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"pads": -1}, "'pads' must be a whole number in 0..254, not -1"),
        ({"pads": 255}, "'pads' must be a whole number in 0..254"),
        ({"pads": True}, "'pads' must be a whole number"),
        ({"offset": 1.0}, "'offset' must be at least 0 and below 1"),
        ({"offset": -0.1}, "'offset' must be at least 0 and below 1"),
        ({"offset": 0.5, "points": "first"}, "'offset' must be .* 0 but for the circle"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Lagrange(2, 12, **parameters)  # type: ignore[arg-type]


def test_wrong_pads_are_refused() -> None:
    """Of another number, shape or dtype, and of a code that has none."""
    code, queries = CASES[0], noise(2, 2, 6)
    for pads in (noise(2, 2, 6), noise(1, 1, 6), noise(2, 1, 5), noise(2, 1, 6).double()):
        with pytest.raises(ValueError, match=r"'pads' must be torch.float32 \[2, 1, 6\]"):
            code.encode(queries, pads)
    with pytest.raises(ValueError, match=r"'pads' must be .*\[2, 0, 6\]"):
        Parity(2, 3).encode(queries, noise(2, 1, 6))


def test_pads_are_not_calibrated() -> None:
    """Moments without pads would be of other results."""
    moments = measure_moments(CASES[0], squares, noise(100, 6))
    with pytest.raises(ValueError, match="'code' must have no pads, not 1"):
        Calibrated(CASES[0], moments)
