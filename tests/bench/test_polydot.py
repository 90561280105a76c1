"""The table of coded products: every section on a small scale, and its text."""

from typing import Any

import pytest

from bench.described import content_of
from bench.polydot.measuring import SECTIONS
from bench.polydot.table import PolydotTable
from bench.polydot.trials import KINDS
from models.store import Store

SMALL: dict[str, dict[str, Any]] = {
    "exact": {"family": "circle", "most_blocks": 2, "losses": 3},
    "sixty": {"family": "circle", "most_blocks": 2},
    "located": {"grid": (2, 1, 2), "nodes": 8, "family": "circle", "trials": 2},
    "majority": {"dtype": "float32", "trials": 1},
    "agreeing": {"grid": (2, 2, 2), "nodes": 12, "family": "conj"},
    "cost": {"grid": (2, 1, 1), "nodes": 3, "family": "circle", "size": 64, "turns": 1},
}


@pytest.mark.parametrize("section", SMALL)
def test_sections(section: str) -> None:
    found = SECTIONS[section](**SMALL[section], seed=0)
    assert all(found.bars.values()) or section == "cost"  # times of small products say nothing


@pytest.mark.parametrize("kind", KINDS)
def test_lies_are_corrected_refused_or_within_the_estimate(kind: str) -> None:
    found = SECTIONS["silent"](kind=kind, trials=25, seed=1)
    assert all(found.bars.values()), found.measured
    assert found.facts["right"] >= 3


def test_the_table_has_all_sections_and_kinds(tmp_path: Any) -> None:
    table = PolydotTable.of(content_of("polydot"))
    rows = table.rows()
    assert {row.section for row in rows} == set(SECTIONS)
    assert {row.settings["kind"] for row in rows if row.section == "silent"} == set(KINDS)
    (row,) = table.rows("agreeing.0")
    (record,) = table.run(row, Store(tmp_path), None, "cpu")  # type: ignore[arg-type]
    assert table.newest([record, {**record, "spec": {}, "row": "agreeing.1"}]) == [record]
    (cells,) = table.cells([record])
    assert cells[-1] == "yes"
    assert record["what"] in cells


def test_a_section_that_there_is_not() -> None:
    content = {**content_of("polydot"), "sections": {"fast": {"each": []}}}
    with pytest.raises(ValueError, match="not fast"):
        PolydotTable.of(content)
