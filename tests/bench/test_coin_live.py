"""Products of models and queries, and lies over models: what rows say of networks at hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.coin import grids, lies
from bench.coin.family import Family, Members

ADAM = {"optimiser": "adam", "rate": 2e-3, "epochs": 4, "batch": 32}


@contextmanager
def silent(title: str) -> Iterator[Any]:
    yield lambda progress: None


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Two networks of a short training."""
    family = Family("digits-cnn", ("digits", "digits:rot"), ADAM, ADAM)
    return Members(family, 0, tmp_path_factory.mktemp("networks"), silent)


def test_a_product_s_rows_tell_what_is_recovered(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "MERGES", grids.MERGES[:1])
    found = [{**record, "seed": 0} for record in grids.grids(members)]
    assert [(r["columns"], r["decoder"]) for r in found] == [
        ("parity", "fixed"),
        ("parity", "calibrated"),
        ("replication", "fixed"),
        ("replication", "calibrated"),
    ]
    for record in found:
        assert record["clean"] > 0.8
        lost = record["lost_only"]
        assert lost.keys() == set(grids.LOST) - (
            {"columns"} if record["columns"] == "replication" else set()
        )  # all copies of a query: nothing is left of it
        assert all(0.4 < share <= record["clean"] + 0.02 for share in lost.values())
    by = {(r["columns"], r["decoder"]): r["lost_only"] for r in found}
    assert by["parity", "calibrated"]["columns"] > by["parity", "fixed"]["columns"]
    lines = grids.cells(found)
    assert [len(line) for line in lines] == [len(grids.TITLES)] * 4
    assert lines[2][8] == "–"


@pytest.mark.parametrize("product", [False, True])
def test_rows_of_lies_tell_who_is_noticed(
    members: Members, product: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lies, "GROUPS", (8,))
    flipped, swapped = lies.lies(members, 2, 1, product=product, batches=20)
    assert (flipped["law"], swapped["law"]) == ("sign flip", "another's")
    assert flipped["noticed"] > 0.95
    assert flipped["false_alarms"] < 0.1
    assert flipped["locates"] == product
    assert (flipped["located"] > 0.9) == product
    assert lies.cells(flipped)[6] == (f"{100 * flipped['located']:.1f} %" if product else "–")
    assert len(lies.cells(swapped)) == len(lies.TITLES)
