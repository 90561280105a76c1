"""Every family of coded products keeps the contract; what breaks it is noticed."""

import dataclasses

import numpy as np
import pytest

from codes.polydot import Product, contract
from codes.polydot.families import FAMILIES, Mixing, mixing
from codes.polydot.verify import verify

CASES = [
    Product(1, 1, 1, 3),
    Product(2, 1, 2, 7),
    Product(1, 2, 1, 5),
    Product(2, 2, 2, 8),
    Product(2, 1, 1, 7, "circle"),  # three liars who agree are a codeword of their own
    Product(2, 2, 1, 9, "mono"),
    Product(2, 2, 1, 8, "circle"),
    Product(2, 1, 2, 6, "cheb"),
    Product(2, 1, 2, 8, "rkrp"),
]


def test_every_family_is_a_case() -> None:
    assert {code.kind for code in CASES} == set(FAMILIES)


@pytest.mark.parametrize("code", CASES, ids=repr)
def test_contract(code: Product) -> None:
    contract.check_product(code)


def planted(monkeypatch: pytest.MonkeyPatch, **wrong: object) -> Product:
    """A code with something wrong in its numbers."""

    def spoilt(*arguments: object) -> Mixing:
        return dataclasses.replace(mixing(*arguments), **wrong)  # type: ignore[arg-type]

    monkeypatch.setattr("codes.polydot.product.mixing", spoilt)
    return Product(2, 1, 2, 7, "circle")


def test_a_wrong_extraction_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    code = planted(monkeypatch, extraction=np.sqrt(2) * np.eye(4)[[1, 0, 2, 3]])
    with pytest.raises(AssertionError, match="is decoded"):
        contract.check_product(code)
    assert verify(code).exit_code == 3


def test_a_weak_generator_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes on one point: some sets are refused that are promised."""
    usual = mixing("circle", 2, 1, 2, 7)
    twice = {
        name: getattr(usual, name)[[0, 0, 2, 3, 4, 5, 6]] for name in ("of_a", "of_b", "generator")
    }
    code = planted(monkeypatch, **twice)
    with pytest.raises(AssertionError, match="refuses nodes"):
        contract.check_product(code, [contract.check_subsets])
    assert verify(code).exit_code == 1


def test_a_code_of_too_many_blocks_for_float32_does_not_keep_its_promise() -> None:
    assert verify(Product(3, 2, 3, 20, "mono"), most_sets=5).exit_code == 1
