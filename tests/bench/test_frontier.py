"""Side information on digits, after two epochs: every idea has a record, and costs are counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.cuts.table import CutsTable
from bench.frontier import TITLES, cells, run
from bench.lagrange.plan import Helper
from models.store import Store

pytestmark = pytest.mark.timeout(120)

DESCRIBED: dict[str, Any] = {
    "kind": "cuts",
    "title": "digits",
    "bases": {"digits-lenet": {"dataset": "digits", "shipped": "digits-lenet"}},
    "rows": [
        {
            "base": "digits-lenet",
            "k": 2,
            "n": 3,
            "cuts": ["conv2"],
            "slots": [3, 4],
            "epochs": 2,
            "recipe": {"batch_size": 32},
        }
    ],
}


@contextmanager
def no_bar(title: str) -> Iterator[Any]:
    yield lambda progress: None


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    store = Store(tmp_path_factory.mktemp("store"))
    table, helper = CutsTable.of(DESCRIBED), Helper("backup", epochs=3)
    records = run(table, "*", helper, (1,), store, no_bar)
    return {record["idea"]: record for record in records}


def test_every_idea_is_recorded_beside_the_backup(found: dict[str, dict[str, Any]]) -> None:
    assert len(found) == 2 + 2 * 4
    for record in found.values():
        assert record["groups"] == 179
        assert record["worst"] <= record["overall"] <= 1
        low, high = record["interval"]
        assert low < record["overall"] < high
        assert len(cells(record)) == len(TITLES)
    assert found["backup"]["above_backup"] == 0
    apart = found["split"]["overall"] - found["backup"]["overall"]
    assert found["split"]["above_backup"] == pytest.approx(apart, abs=1e-4)
    # One of the three slots has the only copy of its query: lost, half of all answers are guesses.
    worst = found["replication"]["worst"]
    assert worst == pytest.approx((0.97 + 0.1) / 2, abs=0.02)


def test_own_answers_of_the_systematic_code_stay_whatever_the_student_says(
    found: dict[str, dict[str, Any]],
) -> None:
    """Two thirds of the sets lose one answer of two: the rest are the base model's, untouched."""
    ideas = [record for idea, record in found.items() if idea.startswith("systematic")]
    assert len(ideas) == 4
    assert all(record["overall"] > 0.97 * (1 / 3 + 2 / 3 / 2) for record in ideas)


def test_what_a_group_costs_is_counted_in_base_forwards(found: dict[str, dict[str, Any]]) -> None:
    split, backup = found["split"], found["backup"]
    assert 2 < backup["cost"] <= 3
    stem = split["at_master"] / 2
    assert split["cost"] == pytest.approx(2 * stem + 3 * (1 - stem), abs=0.01)
    helped = found["split, student's estimates, weighed"]
    assert helped["cost"] == pytest.approx(split["cost"] + backup["cost"] - 2, abs=0.01)
