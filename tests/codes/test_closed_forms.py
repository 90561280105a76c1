"""What each code's formulas must give, by other routes: exact rationals, SciPy, hand arithmetic."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline, make_smoothing_spline

import codes
from codes.base import NotRecoverable
from codes.berrut import Berrut
from codes.interpolation import POINTS, berrut_weights
from codes.linear import LinearDecoding
from codes.parity import Parity
from codes.replication import Replication
from codes.spline import Spline, spline_weights

# Codes that copy or average: tests of their own say by hand what comes out.
COPIES = {"uncoded", "replication", "mosaic", "backup", "assisted", "learned", "product"}
VECTORS = sorted((Path(__file__).parent / "vectors").glob("*.json"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_reference_vectors(path: Path) -> None:
    vectors = json.loads(path.read_text(encoding="utf-8"))
    code = codes.make(path.stem, **vectors["code"])
    assert isinstance(code, LinearDecoding)
    np.testing.assert_allclose(code.responses, vectors["generator"], atol=1e-13)
    for slots, decoder in vectors["decoders"]:
        np.testing.assert_allclose(code.decoder(slots), decoder, rtol=1e-9, atol=1e-12)


def test_there_are_vectors_of_every_code_that_computes() -> None:
    assert {path.stem for path in VECTORS} == set(codes.REGISTRY) - COPIES


def test_one_parity_decodes_by_subtraction() -> None:
    code = Parity(3, 4)
    y = torch.tensor([[[1.0], [2.0], [6.0]]])
    parity = y.mean(1)
    got = code.decode([y[:, 0], y[:, 2], parity], [0, 2, 3], [1])
    assert got.item() == pytest.approx(2.0, abs=1e-6)
    assert code.gain([0, 2, 3])[1] == pytest.approx(np.sqrt(3**2 + 1 + 1))


def test_parity_of_a_sum() -> None:
    code = Parity(4, 5, weights="sum")
    shards = code.encode(torch.arange(8.0).reshape(1, 4, 2))
    assert shards[4].tolist() == [[12.0, 16.0]]
    assert code.gain([1, 2, 3, 4])[0] == pytest.approx(2.0)


@pytest.mark.parametrize(("k", "n"), [(2, 4), (4, 6), (6, 8), (8, 10), (4, 8), (8, 12)])
def test_parity_weights_keep_to_their_condition_numbers(k: int, n: int) -> None:
    stated = {(4, 6): (22, 8), (8, 10): (76, 25), (8, 12): (1.1e4, 110)}
    for which, weights in enumerate(("average", "cauchy")):
        generator = Parity(k, n, weights).generator
        worst = max(np.linalg.cond(generator[list(s)]) for s in combinations(range(n), k))
        assert worst < stated.get((k, n), (1e3, 1e2))[which]
    assert (Parity(k, n).generator >= 0).all()
    np.testing.assert_allclose(Parity(k, n).generator.sum(axis=1), 1)


def test_replication_spreads_copies() -> None:
    code = Replication(4, 6)
    assert code.own_slots == ((0, 4), (1, 5), (2,), (3,))
    assert code.recovery_threshold == 6
    assert Replication(4, 8).recovery_threshold == 7
    with pytest.raises(NotRecoverable) as caught:
        code.decode([torch.zeros(1, 2)] * 3, [0, 1, 3])
    assert (caught.value.slots, caught.value.lost_answers) == ((0, 1, 3), (2,))
    assert caught.value.needed == 6


@pytest.mark.parametrize(("n", "points"), [(8, "open"), (12, "first"), (4, "first")])
def test_berrut_on_its_query_points_is_the_identity(n: int, points: str) -> None:
    code = Berrut(4, n, points)
    assert all(len(own) == 1 for own in code.own_slots)
    queries = torch.randn(2, 4, 5)
    results = [torch.sin(9 * shard) for shard in code.encode(queries)]
    assert torch.equal(code.decode(results, range(n)), torch.sin(9 * queries))


def test_berrut_has_no_pole_between_its_points() -> None:
    """Rows of decoders over subsets stay small; with signs by original index they do not."""
    code = Berrut(8, 12)
    worst = max(float(code.gain(s).max()) for s in combinations(range(12), 8))
    assert worst < 40
    assert Berrut(8, 9).slot_points.tolist() == POINTS["open"](9).tolist()


def test_berrut_weights_by_hand() -> None:
    weights = berrut_weights(np.array([0.5, 0.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(weights, [[0.5, 0.5], [0.0, 1.0]], atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 1e-6, 1e-3, 1.0])
def test_spline_agrees_with_scipy(smoothing: float) -> None:
    rng = np.random.default_rng(7)
    knots = rng.permutation(np.sort(rng.uniform(-1, 1, 9)))
    samples, order = rng.standard_normal(9), np.argsort(knots)
    at = np.linspace(knots.min(), knots.max(), 50)
    if smoothing:
        ours = make_smoothing_spline(knots[order], samples[order], lam=9 * smoothing)(at)
    else:
        ours = CubicSpline(knots[order], samples[order], bc_type="natural")(at)
    np.testing.assert_allclose(spline_weights(at, knots, smoothing) @ samples, ours, atol=1e-10)


def test_spline_of_few_knots() -> None:
    at = np.array([-2.0, 0.5])
    assert spline_weights(at, np.array([0.3]), 0.1).tolist() == [[1.0], [1.0]]
    line = spline_weights(at, np.array([1.0, 0.0]), 0.1)
    np.testing.assert_allclose(line @ [3.0, 1.0], [-3.0, 2.0], atol=1e-14)


def test_strong_smoothing_fits_the_line_of_least_squares() -> None:
    code = Spline(4, 6, lambda_d=1e9)
    y = np.random.default_rng(0).standard_normal(6)
    fitted = np.polyval(np.polyfit(code.slot_points, y, 1), code.query_points)
    np.testing.assert_allclose(code.decoder(range(6)) @ y, fitted, atol=1e-6)


def test_a_slot_on_a_query_point_is_copied_not_smoothed() -> None:
    code = Spline(5, 7, lambda_d=1e-2)  # both have a point in the middle
    assert code.own_slots == ((), (), (3,), (), ())
    assert code.decoder(range(7))[2].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert Spline(5, 7, lambda_e=1e-3).own_slots == ((),) * 5


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("parity", {"k": 4, "n": 9}, "at most k + 4 = 8"),
        ("parity", {"k": 4, "n": 6, "weights": "sum"}, "at most k + 1 = 5"),
        ("parity", {"k": 4, "n": 6, "weights": "mean"}, "one of average, sum, cauchy"),
        ("parity", {"k": 4}, "needs 'n'"),
        ("parity", {"k": 4, "n": 5, "m": 1}, "takes no 'm'"),
        ("parity", {"k": 4, "n": 5, "weigths": "sum"}, "did you mean weights"),
        ("parity", {"k": True, "n": 5}, "whole number"),
        ("parity", {"k": 257, "n": 257}, "at most 256"),
        ("uncoded", {"k": 4, "n": 5}, "'n' must be k = 4"),
        ("replication", {"k": 4, "n": 3}, "at least k = 4, not 3"),
        ("berrut", {"k": 4, "n": 6, "points": "third"}, "one of auto"),
        ("spline", {"k": 4, "n": 6, "lambda_e": -1e-9}, "at least 0"),
        ("spline", {"k": 4, "n": 6, "lambda_d": float("inf")}, "finite"),
        ("parrity", {}, "did you mean parity"),
        ("zzz", {}, "known: uncoded"),
    ],
)
def test_make_refuses_with_a_reason(name: str, parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("+", r"\+")):
        codes.make(name, **parameters)


def test_limits_are_inclusive() -> None:
    assert Parity(4, 8).n == 8
    assert Parity(4, 5, weights="sum").n == 5
    assert Replication(1, 256).n == 256
    assert Spline(4, 6, lambda_e=0, lambda_d=0).exact_case.needs == 2


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codes.base.SETS_KEPT", 5)
    code, results = Parity(4, 6), [torch.zeros(1, 2)] * 6
    for slots in combinations(range(6), 4):
        code.decode([results[s] for s in slots], slots)
    kept = (code._gains, code._solutions, code._recipes, code._decodable)
    assert all(0 < len(cache) <= 5 for cache in kept)


def test_not_recoverable_survives_pickling() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(NotRecoverable((1, 2), (0,), 3)))
    assert (again.slots, again.lost_answers, again.needed) == ((1, 2), (0,), 3)
