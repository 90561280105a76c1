"""The cuts of a model: one row run for real on digits, and what a planner reads of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.cuts import cuts_of
from bench.cuts.table import TITLES, CutsTable, Description, Rows
from bench.described import BaseModel
from bench.tabling import open_table
from models.networks import make
from models.networks.cutting import cuts
from models.store import Store
from tests.bench.test_trainings import FIELDS, bar

pytestmark = pytest.mark.timeout(120)  # the first test waits for all that is trained

TABLE = CutsTable(
    Description(
        kind="cuts",
        title="a test's",
        bases={"digits-mlp": BaseModel("digits", "mlp", {"hidden": [32]}, epochs=4)},
        rows=[Rows("digits-mlp", 2, 3, ["linear1", "input"], [3], 1, {"batch_size": 256}, 100)],
    )
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    store = Store(tmp_path_factory.mktemp("store"), shipped=None)
    made = [record for row in TABLE.rows() for record in TABLE.run(row, store, bar, "cpu")]
    whole: list[dict[str, Any]] = json.loads(json.dumps(made))
    return whole


def test_a_cut_has_a_record_of_its_own(found: list[dict[str, Any]]) -> None:
    deep, shallow = found
    assert set(deep) >= FIELDS
    assert (deep["cut"], deep["place"], deep["lost"]) == ("linear1", 1, 1)
    assert (shallow["costs"]["stem"], shallow["costs"]["payload"]) == (0.0, 1.0)
    assert 0 < deep["costs"]["stem"] < 1
    assert len(TABLE.cells(found)[0]) == len(TITLES)
    assert "any 2 of 3" in TABLE.says(deep)


def test_a_planner_reads_the_cuts_of_a_model(
    found: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    broken = {**TABLE.failed(TABLE.rows()[0], ValueError("no"))}
    records.append("cuts", [{**found[0], "overall": 0.0}, *found, broken])
    first, second = cuts_of("digits-mlp")
    assert (first.cut, second.cut) == ("input", "linear1")
    assert second.any_k == found[0]["overall"]
    assert second.any_k_worst <= second.any_k
    assert (second.k, second.n, second.epochs) == (2, 3, 1)
    assert cuts_of(first.base_hash) == (first, second)
    assert cuts_of("another") == ()


def test_the_table_names_cuts_that_there_are() -> None:
    shapes = {"lenet": (1, 28, 28), "resnet18": (3, 32, 32)}
    described = open_table("cuts").described
    assert described.rows
    for rows in described.rows:
        network = getattr(described.bases[rows.base], "network", "lenet")
        assert set(rows.cuts) <= set(cuts(make(network, shapes[network], 10)))
