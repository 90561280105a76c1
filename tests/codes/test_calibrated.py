"""Calibrated decoders: right formulas, honest expected errors, better than what they wrap."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import codes
from codes.base import Code, NotRecoverable
from codes.calibrated import Calibrated, Moments, measure_moments
from codes.moments import take_moments

Program = Callable[[Tensor], Tensor]


def network(inputs: int, seed: int = 0) -> Program:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(inputs, 24, generator=generator) / inputs**0.5
    last = torch.randn(24, 3, generator=generator)
    return lambda x: torch.tanh(2 * x @ first) @ last + 4.0


def queries(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def calibrate(code: Code, program: Program, given: Tensor, **parameters: float) -> Calibrated:
    return Calibrated(code, measure_moments(code, program, given, seed=0), **parameters)


def relative_error(code: Code, program: Program, slots: list[int], rows: Tensor) -> np.ndarray:
    groups = rows.view(-1, code.k, rows.shape[1])
    results = [program(shard) for shard in code.encode(groups)]
    truth = program(groups)
    decoded = code.decode([results[slot] for slot in slots], slots)
    error = (decoded - truth).square().mean((0, 2)) / truth.var((0,)).mean(1)
    return error.double().numpy()


CASES = [
    ("parity", {"k": 4, "n": 6}, [0, 1, 3, 4, 5]),
    ("parity", {"k": 4, "n": 6, "weights": "cauchy"}, [0, 1, 4, 5]),
    ("berrut", {"k": 4, "n": 6}, [0, 1, 3, 5]),
    ("spline", {"k": 4, "n": 6}, [1, 2, 3, 4, 5]),
]


@pytest.mark.parametrize(("name", "parameters", "slots"), CASES, ids=lambda case: str(case))
def test_expected_error_is_the_error_on_fresh_queries_and_below_the_plain_decoders(
    name: str, parameters: dict[str, int], slots: list[int]
) -> None:
    program, plain = network(6), codes.make(name, **parameters)
    better = calibrate(plain, program, queries(2000, seed=1))
    fresh = queries(4000, seed=2)
    seen, told = relative_error(better, program, slots, fresh), better.expected_error(slots)
    assert told is not None
    np.testing.assert_allclose(seen, told, rtol=0.2, atol=0.004)
    assert seen.mean() < 0.8 * relative_error(plain, program, slots, fresh).mean()


def test_moments_and_decoder_by_the_textbook() -> None:
    """Against plain normal equations of a regression over every group."""
    program, code = network(6), codes.make("berrut", k=3, n=4)
    given = queries(600, seed=3)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(5)).view(200, 3)
    groups = given[order]
    truth = program(groups).double().numpy()
    results = np.stack([program(s).double().numpy() for s in code.encode(groups)], axis=1)
    moments = measure_moments(code, program, given, seed=5, groupings=1)
    assert moments == take_moments(truth, results)
    ours = calibrate_with(code, moments, ridge=1e-12).decoder([0, 2, 3])
    design = (results - results.mean(0))[:, [0, 2, 3]].transpose(0, 2, 1).reshape(-1, 3)
    target = (truth - truth.mean(0)).transpose(0, 2, 1).reshape(-1, 3)
    regression, *_ = np.linalg.lstsq(design, target, rcond=None)
    np.testing.assert_allclose(ours, regression.T, rtol=1e-6, atol=1e-8)


def calibrate_with(code: Code, moments: Moments, **parameters: float) -> Calibrated:
    return Calibrated(code, moments, **parameters)


def test_a_linear_program_is_decoded_nearly_exactly() -> None:
    weights = torch.randn(6, 3, generator=torch.Generator().manual_seed(9))
    code = calibrate(codes.make("parity", k=4, n=5), lambda x: x @ weights + 1, queries(800, 1))
    slots = [0, 1, 3, 4]
    assert relative_error(code, lambda x: x @ weights + 1, slots, queries(400, 2))[2] < 0.01


def test_own_answers_cost_nothing_and_what_tells_nothing_is_refused() -> None:
    code = calibrate(codes.make("parity", k=4, n=6), network(6), queries(2000, seed=1))
    assert code.gain([0, 1, 2, 3]).tolist() == [1, 1, 1, 1]
    told = code.expected_error([0, 1, 2])
    assert told is not None
    assert told.tolist() == [0, 0, 0, np.inf]
    with pytest.raises(NotRecoverable) as caught:
        code.decode([torch.zeros(1, 3)] * 3, [0, 1, 2])
    assert caught.value.lost_answers == (3,)
    assert np.isfinite(code.gain([0, 4, 5])).all()  # fewer than k, and yet something is known
    assert code.recovery_threshold == 4


def test_error_limit_refuses_earlier() -> None:
    program, given = network(6), queries(1000, seed=1)
    strict = calibrate(codes.make("parity", k=4, n=6), program, given, error_limit=0.05)
    assert not strict.recoverable([0, 4, 5])
    assert strict.recoverable([0, 1, 4, 5])  # at the threshold nothing is refused


@pytest.mark.parametrize("name", ["uncoded", "replication"])
def test_copies_never_guess(name: str) -> None:
    code = calibrate(codes.make(name, k=3, n=3), network(6), queries(1500, seed=1))
    assert code.gain([0, 2]).tolist() == [1, np.inf, 1]


def test_the_program_runs_once_a_query_and_once_a_coded_shard() -> None:
    rows = []

    def counted(x: Tensor) -> Tensor:
        rows.append(len(x))
        return x * 2

    measure_moments(codes.make("parity", k=4, n=6), counted, queries(1002, 1), groupings=3)
    assert sum(rows) == 1002 + 3 * 250 * 2
    assert max(rows) <= 256


def test_moments_travel_as_arrays() -> None:
    code = codes.make("parity", k=4, n=5)
    moments = measure_moments(code, network(6), queries(100, 1))
    again = Moments.from_arrays({name: array.copy() for name, array in moments.to_arrays().items()})
    assert again == moments
    assert hash(again) == hash(moments)
    assert all(array.dtype == np.float64 for array in again.to_arrays().values())
    assert len(repr(calibrate_with(code, again))) < 200
    other = measure_moments(code, network(6, seed=1), queries(100, 1))
    assert other != moments
    with pytest.raises(ValueError, match="read-only"):
        again.result_cov[0, 0] = 1.0


def test_refusals_name_what_is_wrong() -> None:
    code = codes.make("parity", k=4, n=5)
    moments = measure_moments(code, network(6), queries(100, 1))
    arrays = moments.to_arrays()
    with pytest.raises(ValueError, match="6 rows of results, not 4 and 5"):
        calibrate_with(codes.make("parity", k=4, n=6), moments)
    with pytest.raises(ValueError, match="must decode linearly"):
        calibrate_with(calibrate_with(code, moments), moments)
    for parameter in ("ridge", "error_limit"):
        with pytest.raises(ValueError, match=parameter):
            calibrate_with(code, moments, **{parameter: 0.0})
    with pytest.raises((ValueError, TypeError), match="cross_cov"):
        Moments.from_arrays({**arrays, "cross_cov": np.zeros((4, 4))})
    with pytest.raises(ValueError, match="finite"):
        Moments.from_arrays({**arrays, "answer_cov": np.full((4, 4), np.nan)})
    with pytest.raises(ValueError, match="need the arrays"):
        Moments.from_arrays({"answer_cov": np.zeros((4, 4))})
    with pytest.raises(ValueError, match="at least 2 q = 8 rows, not 7"):
        measure_moments(code, network(6), queries(7, 1))
    with pytest.raises(ValueError, match="finite results"):
        measure_moments(code, lambda x: x / 0, queries(100, 1))
    with pytest.raises(ValueError, match="3 entries, as the decoder"):
        calibrate_with(code, moments).decode([torch.zeros(2, 7)] * 4, [0, 1, 2, 4])


def test_a_program_that_answers_always_the_same() -> None:
    code = calibrate(codes.make("parity", k=2, n=3), lambda x: torch.ones(len(x), 3), queries(9, 1))
    decoded = code.decode([torch.ones(1, 3)] * 2, [0, 2])
    assert torch.allclose(decoded, torch.ones(1, 2, 3))


def test_digits_lost_answers_are_better_than_the_plain_decoders() -> None:
    """Accuracy over lost answers only, 8 x 8 digits, one lost of k = 2 and of k = 4."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(images).float() / 16, torch.from_numpy(labels)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x[:1200]), y[:1200]).backward()
        optimiser.step()
    model.requires_grad_(False)
    assert (model(x[1200:]).argmax(1) == y[1200:]).float().mean() > 0.85
    for k, at_least in ((2, 0.6), (4, 0.4)):
        plain = codes.make("parity", k=k, n=k + 1)
        better = calibrate(plain, model, x[:1200])
        groups = torch.randperm(597 // k * k, generator=torch.Generator().manual_seed(1)) + 1200
        groups = groups.view(-1, k)
        results = [model(shard) for shard in plain.encode(x[groups])]
        accuracy = [
            float((code.decode(results[1:], range(1, k + 1), [0])[:, 0].argmax(1)
                   == y[groups[:, 0]]).float().mean())
            for code in (plain, better)
        ]  # fmt: skip
        assert accuracy[1] > at_least, (k, accuracy)
        assert accuracy[1] > accuracy[0] - 0.01, (k, accuracy)  # nearly linear: a tie at k = 2
