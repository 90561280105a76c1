"""The split Lagrange code: estimates of least error, fresh angles, own answers taken off."""

from itertools import combinations

import numpy as np
import pytest
import torch

from codes.contract_bits import noise
from codes.locating import most_liars
from codes.split_lagrange import SplitLagrange
from codes.stages import shards_of


def test_k_slots_give_the_inverse_of_the_generator() -> None:
    code = SplitLagrange(4, 6)
    for slots in combinations(range(6), 4):
        np.testing.assert_allclose(
            code.decoder(slots) @ code.generator[list(slots)], np.eye(4), atol=1e-9
        )


def test_fewer_slots_give_the_answers_of_least_norm() -> None:
    code = SplitLagrange(4, 8)
    expected = np.linalg.pinv(code.generator[[1, 2, 6]])
    np.testing.assert_allclose(code.decoder([1, 2, 6]), expected, atol=1e-12)


@pytest.mark.parametrize("systematic", [False, True])
def test_a_known_noise_makes_the_estimate_of_least_error_and_tells_it(systematic: bool) -> None:
    """Answers and noise drawn with these variances: no other decoder errs less, and this as much
    as it says."""
    code = SplitLagrange(3, 5, noise=0.2, systematic=systematic)
    rng = np.random.default_rng(0)
    answers = rng.standard_normal((3, 200_000))
    results = code.generator @ answers + np.sqrt(0.2) * rng.standard_normal((5, 200_000))
    if systematic:
        results[:3] = answers
    for slots in ([2, 3, 4], [1, 4], [3], [0, 3, 4]):
        decoder, told = code.decoder(slots), code.expected_error(slots)
        assert told is not None
        errors = np.square(decoder @ results[slots] - answers).mean(1)
        np.testing.assert_allclose(errors, told, atol=0.01)
        lost = [j for j in range(3) if not systematic or j not in slots]
        best = np.linalg.lstsq(results[slots].T, answers[lost].T, rcond=None)[0].T
        np.testing.assert_allclose(decoder[lost], best, atol=0.02)


def test_the_gain_of_an_estimate_is_interpolation_s_where_that_is_small() -> None:
    estimating, interpolating = SplitLagrange(4, 8, noise=0.01), SplitLagrange(4, 8)
    good = (0, 2, 4, 5, 6, 7)
    np.testing.assert_allclose(estimating.gain(good), interpolating.gain(good), rtol=0.05)
    few = estimating.gain((0, 2))
    assert few.max() > 5  # what two slots do not tell is no smaller for being left out
    assert (estimating.gain((0, 2, 5)) <= few + 1e-9).all()


def test_a_bias_is_added_to_what_the_estimate_says() -> None:
    plain, biased = SplitLagrange(4, 8, noise=0.01), SplitLagrange(4, 8, noise=0.01, bias=0.2)
    every, told = range(8), plain.expected_error(range(8))
    assert told is not None
    np.testing.assert_allclose(biased.expected_error(every), 0.2 + 0.8 * told)
    np.testing.assert_array_equal(biased.gain(every), plain.gain(every))


def test_spare_slots_outvote_nobody_and_need_no_workers_of_their_own() -> None:
    code = SplitLagrange(4, 12, spares=6)
    assert code.sent == 6
    assert most_liars(code) == most_liars(SplitLagrange(4, 6)) == 1


def test_points_of_spare_slots_are_fresh() -> None:
    code = SplitLagrange(4, 18, spares=12)
    turns = np.sort(code.slot_points / (2 * np.pi))
    gaps = np.diff(turns, append=turns[0] + 1)
    assert gaps.min() > 0.005
    plain = SplitLagrange(4, 6)
    np.testing.assert_array_equal(code.slot_points[:6], plain.slot_points)


def test_coded_slots_of_a_systematic_code_stand_between_the_queries() -> None:
    code = SplitLagrange(4, 6, systematic=True)
    assert code.roles == ("base",) * 4 + ("trunk",) * 2
    assert code.own_slots == ((0,), (1,), (2,), (3,))
    np.testing.assert_allclose(code.slot_points[4:], [0, np.pi])
    queries = noise(2, 4, 6)
    shards = shards_of(code, queries, lambda rows: 2 * rows)
    assert torch.equal(shards[1], queries[:, 1])
    mix = torch.einsum("k,gkf->gf", torch.tensor(code.generator[4]).float(), 2 * queries)
    torch.testing.assert_close(shards[4], mix)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dimension": 3}, "'dimension' must be at least k = 4, not 3"),
        ({"dimension": 7}, "'dimension' must be at most n - spares = 6, not 7"),
        ({"dimension": 6, "spares": 1}, "'dimension' must be at most n - spares = 5, not 6"),
        ({"dimension": 5, "systematic": True}, "'dimension' must be k = 4"),
        ({"spares": 3}, "'n' must be at least k \\+ spares = 7, not 6"),
        ({"noise": -0.1}, "'noise'"),
        ({"bias": 1.0}, "'bias'"),
        ({"offset": 1.0}, "'offset' must be in"),
        ({"offset": 0.5, "systematic": True}, "'offset' must keep the slot points apart"),
    ],
)
def test_what_cannot_work_is_refused_by_name(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SplitLagrange(4, 6, **settings)  # type: ignore[arg-type]
