"""Codes over models: what they decode by hand, whom they accuse, what they refuse."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import codes
from codes.calibrated import Calibrated, measure_moments
from codes.coin import Coin, vandermonde_rows
from codes.contract_bits import noise
from codes.ensemble import Ensemble
from codes.locating import most_liars
from codes.moments import take_moments
from codes.neural import Weights
from codes.product import Product


def programs(models: int, entries: int = 4) -> list[Tensor]:
    """Weights of linear models that have a part in common, [entries, entries] each."""
    shared = noise(entries, entries)
    return [shared + 0.3 * noise(entries, entries, seed=1 + i) for i in range(models)]


def outputs(models: int, r: int, m: int = 600, coding_noise: float = 0.1, seed: int = 0) -> Tensor:
    """[m, n, 4] of bent models and of merged ones that are off by some noise."""
    queries = noise(m, 4, seed=100 + seed)
    own = torch.stack([torch.tanh(queries @ weights) for weights in programs(models)], 1)
    rows = torch.from_numpy(vandermonde_rows(models, r)).float()
    merged = torch.einsum("rk,mke->mre", rows, own)
    return torch.cat([own, merged + coding_noise * noise(m, r, 4, seed=7 + seed)], 1)


def fitted(models: int, r: int, **options: float) -> Coin:
    sample = Weights({"outputs": outputs(models, r, **options)})  # type: ignore[arg-type]
    return Coin(models, models + r, decoding="fitted", outputs=sample)


def test_averages_of_linear_models_decode_to_rounding() -> None:
    """The sum of models that are linear in their weights is the model of the summed weights."""
    weights = programs(3)
    code = Coin(3, 5)
    rows = code.merging_weights
    merged = [sum(float(b) * w for b, w in zip(row, weights, strict=True)) for row in rows]
    queries = noise(6, 1, 4)
    results = [
        shard @ one for shard, one in zip(code.encode(queries), [*weights, *merged], strict=True)
    ]
    for slots in ([2, 3, 4], [0, 3, 4], [0, 1, 4], [0, 1, 2, 3, 4]):
        decoded = code.decode([results[slot] for slot in slots], slots)
        wanted = torch.stack([queries[:, 0] @ one for one in weights], 1)
        torch.testing.assert_close(decoded, wanted, atol=1e-5, rtol=1e-5)


def test_every_slot_is_sent_the_same_tensor() -> None:
    shards = Coin(2, 3).encode(noise(5, 1, 2, 3))
    assert len({shard.data_ptr() for shard in shards}) == 1
    assert shards[0].shape == (5, 2, 3)


def test_default_rows_have_no_negative_weight_and_the_plain_mean_first() -> None:
    rows = Coin(3, 5).merging_weights
    np.testing.assert_allclose(rows, [[1 / 3] * 3, [1 / 6, 2 / 6, 3 / 6]])


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], "1 rows of k = 2 weights, not 2 rows of 2"),
        ([[0.5, 0.25, 0.25]], "not 1 rows of 3 weights"),
        ([[1.0, 0.0]], r"any 2 slots give all answers; slots \(0, 2\) do not"),
        ([[float("nan"), 1.0]], "must be finite"),
    ],
)
def test_weights_that_do_not_decode_are_refused(weights: list[list[float]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Coin(2, 3, weights)


@pytest.mark.parametrize("shape", [(5, 2, 4), (1, 3, 4), (5,)])
def test_outputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"outputs.* \[m >= 2, n = 3, \*answer\]"):
        Coin(2, 3, outputs=Weights({"outputs": noise(*shape)}))


def test_a_fitted_decoder_leaves_less_error_than_a_fixed_one_and_knows_it() -> None:
    """On fresh groups, of models whose merged one is poor."""
    code = fitted(2, 1, coding_noise=0.4)
    fresh = outputs(2, 1, coding_noise=0.4, seed=50)
    truth, results = fresh[:, 0], [fresh[:, 1], fresh[:, 2]]
    variance = float(truth.var(0, correction=0).sum())
    left = {}
    for decoding in ("fixed", "fitted"):
        one = Coin(2, 3, decoding=decoding, outputs=code.outputs)
        decoded = one.decode(results, [1, 2], [0])[:, 0]
        left[decoding] = float((decoded - truth).square().mean(0).sum()) / variance
    assert left["fitted"] < 0.7 * left["fixed"]
    told = code.expected_error([1, 2])
    assert told is not None
    assert told[1] == 0
    assert told[0] == pytest.approx(left["fitted"], rel=0.15)
    assert code.expected_error([0, 1]) is not None
    assert Coin(2, 3).expected_error([1, 2]) is None


def test_a_fitted_decoder_needs_its_sample() -> None:
    assert not codes.make("coin", k=2, n=3, decoding="fitted").is_trained
    assert codes.make("coin", k=2, n=3).is_trained


def lie(results: list[Tensor], slot: int) -> list[Tensor]:
    return [-result if i == slot else result for i, result in enumerate(results)]


@pytest.mark.parametrize("slot", range(5))
def test_two_merged_models_tell_who_lies(slot: int) -> None:
    code = fitted(3, 2)
    assert most_liars(code) == 1
    fresh = outputs(3, 2, m=8, seed=9)
    results = list(fresh.unbind(1))
    assert code.locate(results, range(5), 1) == ()
    assert code.locate(lie(results, slot), range(5), 1) == (slot,)
    assert code.suspects(lie(results, slot)) == (slot,)


def test_one_merged_model_tells_that_somebody_lies() -> None:
    code = fitted(2, 1)
    assert most_liars(code) == 0
    results = list(outputs(2, 1, m=8, seed=9).unbind(1))
    assert code.suspects(results) == ()
    assert all(code.suspects(lie(results, slot)) == (0, 1, 2) for slot in range(3))
    assert Coin(2, 3).suspects(lie(results, 0)) == ()
    with pytest.raises(ValueError, match="'outputs' must be given"):
        Coin(2, 3).locate(results, range(3), 1)


def test_the_residual_is_the_coding_noise() -> None:
    own = torch.ones(1, 2, 4)
    merged = own.mean(1, keepdim=True) * 1.25
    results = list(torch.cat([own, merged], 1).unbind(1))
    assert Coin(2, 3).residual(results) == pytest.approx(0.25)
    assert Product(2, 3).residual(results) == pytest.approx(0.25)


def test_one_model_is_asked_alone_and_all_with_the_merged_ones() -> None:
    assert Coin(3, 5).first_slots([1]) == (1,)
    assert Coin(3, 5).first_slots([2, 0]) == (0, 2)
    assert Coin(3, 5).first_slots([0, 1, 2]) == (0, 1, 2, 3, 4)
    assert Product(4, 9).first_slots([2, 3]) == (3, 4, 5)
    assert Product(4, 9).first_slots([1, 2]) == tuple(range(9))
    assert Ensemble(Coin(3, 5)).first_slots([1]) == (1,)
    assert Ensemble(Coin(3, 5)).first_slots([3]) == (0, 1, 2, 3, 4)


def test_the_mean_is_of_all_models_or_what_the_merged_one_says() -> None:
    code = Ensemble(Coin(2, 3, [[0.75, 0.25]]))
    own, merged = [noise(2, 4), noise(2, 4, seed=1)], noise(2, 4, seed=2)
    assert code.gain([0])[2] == np.inf
    both = code.decode(own, [0, 1])
    torch.testing.assert_close(both[:, 2], 0.75 * own[0] + 0.25 * own[1])
    assert code.expected_error([0, 1]).tolist() == [0, 0, 0]  # type: ignore[union-attr]
    for slots, results in (([2], [merged]), ([1, 2], [own[1], merged])):
        torch.testing.assert_close(code.decode(results, slots, [2])[:, 0], merged)
    all_three = code.decode([*own, merged], [0, 1, 2], [2])[:, 0]
    torch.testing.assert_close(all_three, both[:, 2])


def test_the_error_of_a_mean_is_measured() -> None:
    code = Ensemble(fitted(2, 1, coding_noise=0.3))
    told = code.expected_error([2])
    assert told is not None
    fresh = outputs(2, 1, coding_noise=0.3, seed=40)
    mean = fresh[:, :2].mean(1)
    error = float((fresh[:, 2] - mean).square().mean(0).sum() / mean.var(0).sum())
    assert told[2] == pytest.approx(error, rel=0.15)
    assert np.isinf(told[:2]).all()


@pytest.mark.parametrize("columns", ["parity", "replication"])
def test_a_lost_model_and_a_lost_query_are_recovered_together(columns: str) -> None:
    """Of linear programs and their averages, all answers, to rounding."""
    n = 9 if columns == "parity" else 12
    code = Product(4, n, columns=columns)
    width = n // 3
    weights = programs(2)
    every = [*weights, (weights[0] + weights[1]) / 2]
    queries = noise(5, 2, 4)
    results = [shard @ every[i // width] for i, shard in enumerate(code.encode(queries))]
    lost = {*range(width), *range(0, n, width)}  # model 0, and the first query of every model
    here = [slot for slot in range(n) if slot not in lost]
    if columns == "replication":
        here += [width + 2]  # the copy of query 0, at model 1 and at the merged one
        here += [2 * width + 2]
        here = sorted(set(here))
    decoded = code.decode([results[slot] for slot in here], here)
    wanted = torch.cat([queries @ one for one in weights], 1)
    torch.testing.assert_close(decoded, wanted, atol=1e-5, rtol=1e-5)


def test_a_rectangle_of_lost_slots_is_not_recovered() -> None:
    code = Product(4, 9)
    assert code.recovery_threshold == 6
    rectangle = {0, 1, 3, 4}
    here = [slot for slot in range(9) if slot not in rectangle]
    assert np.isinf(code.gain(here)).all()
    assert np.isfinite(code.gain([*here, 0])).all()


def test_columns_need_all_of_their_own_row_only() -> None:
    """One model's answers from its row alone, by the query code."""
    code = Product(4, 9)
    gains = code.gain([0, 2])
    assert np.isfinite(gains[:2]).all()
    assert np.isinf(gains[2:]).all()


def test_steps_lead_to_what_no_single_step_gives() -> None:
    """Rows first, then columns, then rows again: a cross with its middle lost."""
    code = Product(4, 9)
    here = [0, 1, 4, 5, 6, 8]
    assert np.isfinite(code.gain(here)).all()


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"k": 3, "n": 9}, "'k' must be a multiple of models = 2, not 3"),
        ({"k": 4, "n": 8}, r"'n' must be a multiple of models \+ coded = 3, not 8"),
        ({"k": 4, "n": 5}, "'n' must be at least"),
        ({"k": 4, "n": 9, "columns": "lagrange"}, "one of parity, replication, berrut"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        codes.make("product", **sizes)


def bent() -> tuple[Calibrated, dict[str, Callable[[Tensor], Tensor]]]:
    """Two bent programs and their mean's, times two queries and a parity; by role."""
    weights = programs(2)
    every = {"model-0": weights[0], "model-1": weights[1], "coded-0": (weights[0] + weights[1]) / 2}
    run = {role: lambda x, one=one: torch.tanh(x @ one) for role, one in every.items()}
    code = Product(4, 9)
    return Calibrated(code, measure_moments(code, run, noise(800, 4))), run


def test_a_product_is_calibrated_by_its_own_models() -> None:
    """Moments are of each model's own answers, and lower the error of bent programs."""
    calibrated, run = bent()
    code = calibrated.code
    assert calibrated.model_roles == ("model-0", "model-1")
    assert calibrated.own_slots == code.own_slots == ((0,), (1,), (3,), (4,))
    queries = noise(400, 2, 4, seed=3)
    results = [run[code.roles[i]](shard) for i, shard in enumerate(code.encode(queries))]
    here = [2, 4, 5, 7, 8]
    truth = torch.cat([run["model-0"](queries), run["model-1"](queries)], 1)
    given = [results[slot] for slot in here]
    plain, better = (
        float((one.decode(given, here) - truth)[:, :2].square().mean())
        for one in (code, calibrated)
    )
    told = calibrated.expected_error(here)
    assert told is not None
    assert better < 0.8 * plain
    share = better / float(truth[:, :2].var(0, correction=0).mean())
    assert told[:2].mean() == pytest.approx(share, rel=0.2)


def test_a_calibrated_product_tells_who_lies() -> None:
    code, run = bent()
    shards = code.encode(noise(16, 2, 4, seed=3))
    results = [run[role](shard) for role, shard in zip(code.roles, shards, strict=True)]
    assert code.suspects(results) == ()
    for slot in range(9):
        assert code.suspects(lie(results, slot)) == (slot,)


def test_calibrated_coin_of_one_merged_model_names_nobody() -> None:
    sample = outputs(2, 1).double().numpy()
    code = Calibrated(Coin(2, 3), take_moments(sample[:, :2], sample))
    results = list(outputs(2, 1, m=8, seed=9).unbind(1))
    assert code.suspects(results) == ()
    assert code.suspects(lie(results, 1)) == (0, 1, 2)
