"""The table of coded products: every section on a small scale, and its text."""

from typing import Any

import pytest

from bench.described import content_of
from bench.polydot.table import SECTIONS, PolydotTable
from bench.polydot.trials import KINDS
from models.store import Store

SMALL: dict[str, dict[str, Any]] = {
    "exact": {"family": "circle", "most_blocks": 2, "losses": 3},
    "sixty": {"family": "circle", "most_blocks": 2},
    "located": {"grid": (2, 1, 2), "nodes": 8, "family": "circle", "trials": 2},
    "majority": {"dtype": "float32", "trials": 1},
    "agreeing": {"grid": (2, 2, 2), "nodes": 12, "family": "conj"},
    "correctable": {"code": "layer circle", "nodes": 9, "trials": 3},
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


def test_codes_correct_what_theory_says_and_no_more() -> None:
    """12 nodes and 2 x 2 blocks: a lie in three copies, six of them by Generalized PolyDot."""
    for code, apart, agreed in [("uncoded", 0, 0), ("copies", 1, 1), ("rows and columns", 1, 1),
                                ("product circle", 7, 4), ("product conj", 9, 5)]:  # fmt: skip
        found = SECTIONS["correctable"](code=code, nodes=12, trials=10, seed=0)
        for one in found.facts.values():
            assert one["theory"] == {"apart": apart, "agreed": agreed}
            assert one["measured"] == one["theory"], code


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
