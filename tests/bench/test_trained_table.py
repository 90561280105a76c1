"""The table of trained codes: what a row is, what is newest, and which of two is better."""

from typing import Any

import pytest
import torch

from bench.cells import Grid, published_for, read_table, rows_of
from bench.trained_table import best_decoders, cells, difference, newest
from bench.trainings import packed
from models.cards import proportion
from training.measure import Worth

TABLE = "learned-codes"


def right(*hits: float) -> str:
    one = proportion(1, 2)
    found = packed(Worth(one, one, one, one, one, one, groups=1, by_query=torch.tensor(hits)))
    assert found is not None
    return found


def record(**changed: Any) -> dict[str, Any]:
    return {
        "row": "a.backup-k4-r1",
        "model": "a",
        "code": "backup",
        "k": 4,
        "n": 5,
        "decoder": "plain",
        "lost": 1,
        "clean": 0.9,
        "overall": 0.89,
        "lost_only": 0.8,
        "validation": 0.8,
        "interval": [0.7, 0.9],
        "baselines": {"uncoded": 0.8, "replication": 0.85},
        "published": [],
        "cost": 1.0,
        "seconds": 3.0,
        "right": right(1, 1, 0, 0, 1, 1, 1, 1),
        "spec": {"parameters": {}},
        **changed,
    }


def test_every_row_has_a_name_and_a_store_name_of_its_own() -> None:
    rows = rows_of(read_table(TABLE))
    assert len({row.name for row in rows}) == len({row.code_name for row in rows}) == len(rows)
    assert len({row.base_name for row in rows}) == len({row.model for row in rows})


def test_the_grid_of_the_paper_is_whole() -> None:
    """Two data sets, two base models, k 2 and 5, two encoders, three losses."""
    assert len(rows_of(read_table(TABLE), "[mf]*.learned-k?-r1.*")) >= 48


def test_rows_are_chosen_and_shortened() -> None:
    rows = rows_of(read_table(TABLE), "fashion-lenet.backup-k4-r1", most_epochs=1)
    (row,) = rows
    assert (row.epochs, row.base.epochs) == (1, 1)
    (whole,) = rows_of(read_table(TABLE), "fashion-lenet.backup-k4-r1")
    assert whole.spec != row.spec
    assert whole.code_name != row.code_name


def test_published_figures_are_of_the_same_data_code_and_k() -> None:
    table = read_table(TABLE)
    (row,) = rows_of(table, "fashion-lenet.learned-k2-r1.mlp.kl-base")
    assert [figure.gap for figure in published_for(table, row)] == [0.7]
    (other,) = rows_of(table, "fashion-lenet.learned-k5-r1.mlp.kl-base")
    assert published_for(table, other) == []


def test_a_table_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="epoch"):
        Grid(code="backup", each={}, epoch=3)  # type: ignore[call-arg]


def test_the_newest_record_counts_and_errors_do_not() -> None:
    old, new = record(lost_only=0.5), record(lost_only=0.8)
    broken = {"row": old["row"], "error": "ValueError: no"}
    assert newest([old, new, broken]) == [new]
    better = record(decoder="lmmse", validation=0.85, lost_only=0.7)
    assert best_decoders([new, better]) == [better]


def test_a_difference_is_paired() -> None:
    """Of 8 queries one has 2 right that the other has wrong, and 1 the other way."""
    found = difference(right(1, 1, 1, 1, 0, 0, 0, 0), right(1, 1, 0, 0, 1, 0, 0, 0))
    assert found.points == pytest.approx(100 / 8)
    deviation = ((3 / 8 - 1 / 64) / 8) ** 0.5
    assert found.interval[1] - found.points == pytest.approx(100 * 1.95996 * deviation, rel=1e-4)


def test_cells_stand_beside_the_backup() -> None:
    other = record(
        row="a.mosaic-k4-r1", code="mosaic", right=right(1, 1, 1, 1, 1, 1, 1, 1), lost_only=0.9
    )
    first, second = cells([record(), other])
    assert "–" in first
    assert any(text.startswith("+25.00 (") for text in second)


def test_shares_are_not_packed() -> None:
    """With several slots lost a query has a share, not a bit."""
    one = proportion(1, 2)
    assert packed(Worth(one, one, one, one, one, one, 1, torch.tensor([0.5, 1.0]))) is None
