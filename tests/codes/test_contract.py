"""Every registered code keeps the contract, plain and calibrated."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import codes
from codes import contract, verify
from codes.base import Code
from codes.calibrated import Calibrated, measure_moments
from codes.contract_bits import noise
from codes.linear import LinearDecoding
from codes.neural import Weights
from codes.parity import Parity


def fitted(n: int) -> Weights:
    """Outputs of n programs that have something in common."""
    shared = noise(300, 1, 4)
    return Weights({"outputs": shared + noise(300, n, 4, seed=1)})


CASES: dict[str, list[dict[str, Any]]] = {
    "uncoded": [{"k": 1}, {"k": 4}],
    "replication": [{"k": 3, "n": 3}, {"k": 4, "n": 6}, {"k": 2, "n": 6}, {"k": 1, "n": 2}],
    "parity": [
        {"k": 4, "n": 4},
        {"k": 1, "n": 3},
        {"k": 4, "n": 5},
        {"k": 6, "n": 8},
        {"k": 8, "n": 12},
        {"k": 3, "n": 4, "weights": "sum"},
        {"k": 4, "n": 8, "weights": "cauchy"},
        {"k": 4, "n": 6, "trained": True},
    ],
    "mosaic": [
        {"k": 1, "n": 2},
        {"k": 3, "n": 5},
        {"k": 4, "n": 6, "answers": "each"},
        {"k": 5, "n": 6, "weights": "sum"},
    ],
    "learned": [
        {"k": 1, "n": 2},
        {"k": 2, "n": 2},
        {"k": 2, "n": 4},
        {"k": 2, "n": 4, "assisted": True},
        {"k": 2, "n": 3, "encoder": "conv", "query_shape": (3, 6, 5), "classes": 4},
    ],
    "assisted": [{"k": 1, "n": 2}, {"k": 3, "n": 6}, {"k": 4, "n": 6}, {"k": 3, "n": 4}],
    "backup": [{"k": 3, "n": 3}, {"k": 1, "n": 2}, {"k": 4, "n": 6}, {"k": 2, "n": 3}],
    "lagrange": [
        {"k": 1, "n": 1},
        {"k": 3, "n": 4},
        {"k": 4, "n": 6},
        {"k": 4, "n": 8, "homogeneous": True},
        {"k": 4, "n": 8, "points": "second"},
        {"k": 4, "n": 9, "degree": 2, "homogeneous": True},
        {"k": 3, "n": 10, "degree": 4, "points": "first"},
        {"k": 2, "n": 8, "degree": 2, "pads": 1, "offset": 0.25},
        {"k": 3, "n": 8, "pads": 2, "points": "first"},
        {"k": 3, "n": 6, "degree": 2},
    ],
    "split-lagrange": [
        {"k": 1, "n": 2},
        {"k": 3, "n": 3},
        {"k": 4, "n": 8},
        {"k": 4, "n": 7, "dimension": 6, "offset": 0.25},
        {"k": 4, "n": 7, "dimension": 5},
        {"k": 4, "n": 9, "spares": 3, "noise": 0.05},
        {"k": 4, "n": 8, "dimension": 5, "noise": 0.1},
        {"k": 3, "n": 5, "systematic": True},
        {"k": 4, "n": 6, "systematic": True, "noise": 0.02},
    ],
    "berrut": [
        {"k": 1, "n": 2},
        {"k": 3, "n": 3},
        {"k": 4, "n": 5},
        {"k": 4, "n": 8, "points": "open"},
        {"k": 5, "n": 8, "points": "second"},
    ],
    "spline": [
        {"k": 1, "n": 2},
        {"k": 2, "n": 3},
        {"k": 3, "n": 3, "lambda_d": 0.0},
        {"k": 4, "n": 6, "lambda_e": 1e-3},
    ],
    "coin": [
        {"k": 1, "n": 1},
        {"k": 2, "n": 3, "weights": [[0.7, 0.3]]},
        {"k": 3, "n": 5},
        {"k": 4, "n": 6, "weights": [[1, 1, 1, 1], [1, 2, -3, 4]]},
        {"k": 2, "n": 3, "decoding": "fitted", "outputs": fitted(3)},
        {"k": 3, "n": 5, "decoding": "fitted", "outputs": fitted(5)},
        {"k": 2, "n": 4},
    ],
    "product": [
        {"k": 2, "n": 3},
        {"k": 6, "n": 9, "coded": 0, "models": 3, "columns": "replication"},
        {"k": 4, "n": 12, "columns": "replication"},
        {"k": 4, "n": 9, "columns": "berrut"},
        {"k": 6, "n": 12, "models": 3, "weights": [[0.5, 0.25, 0.25]]},
        {"k": 4, "n": 9},
    ],
}


def calibrated(code: Code) -> Calibrated:
    """With the moments of small fixed networks, another one for each role."""
    shape = code.query_shapes[-1] if len(code.query_shapes) < 3 else (6,)
    queries = noise(400, *shape)

    def network(seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
        first, last = noise(queries[0].numel(), 16, seed=seed), noise(16, 3, seed=seed + 1)
        return lambda x: torch.tanh(x.flatten(x.ndim - len(shape)) @ first) @ last

    programs = {role: network(seed) for seed, role in enumerate(code.roles)}
    for role, width in zip(code.roles, code.widths, strict=True):
        if width and code.name == "mosaic":
            one = programs[role]
            programs[role] = lambda x, one=one: one(x)[:, None].expand(-1, code.k, -1)
        elif role == "helper":
            one = programs[role]
            programs[role] = lambda x, one=one: torch.cat([one(x), one(x).mean(1)[:, None]], 1)
    return Calibrated(code, measure_moments(code, programs, queries, seed=1))


def made() -> list[Code]:
    plain = [codes.make(name, **case) for name, cases in CASES.items() for case in cases]
    smallest = [codes.make(name, **cases[-1]) for name, cases in CASES.items() if cases]
    linear = [code for code in smallest if isinstance(code, LinearDecoding)]
    return [*plain, *(calibrated(code) for code in linear)]


def test_every_registered_code_is_a_case() -> None:
    assert set(codes.REGISTRY) <= set(CASES)


@pytest.mark.parametrize("code", made(), ids=repr)
def test_contract(code: Code) -> None:
    contract.check_code(code)


def test_a_missing_set_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = verify.subsets

    def all_but_one(*arguments: Any) -> Any:
        chosen = list(whole(*arguments))
        return iter(chosen[:-1] if len(chosen) > 10 else chosen)

    monkeypatch.setattr(verify, "subsets", all_but_one)
    with pytest.raises(AssertionError, match="tried, not"):
        contract.check_subsets(Parity(4, 6))


def test_a_sample_of_many_sets_is_seeded_and_without_repeats() -> None:
    drawn = list(verify.subsets(14, 7))
    assert len(set(drawn)) == verify.MOST_SETS
    assert drawn == list(verify.subsets(14, 7))
    assert all(slots == tuple(sorted(set(slots))) for slots in drawn)


def test_verify_counts_fates() -> None:
    seen = verify.verify(Parity(4, 6))
    assert seen.fates[2] == {"refused": 20}
    assert seen.fates[3] == {"decoded": 15}
    assert verify.verify(codes.make("spline", k=4, n=6)).fates[0] == {"estimated": 6}
    estimates = verify.verify(calibrated(Parity(4, 6)))
    assert estimates.exit_code == 0
    assert estimates.fates[4] == {"estimated": 4, "decoded": 2}  # a parity lost costs nothing
    assert estimates.fates[5] == {"decoded": 1}
