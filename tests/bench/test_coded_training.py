"""Schemes that coded training is compared with, and the table of all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import records
from bench.__main__ import app
from bench.coded_training import document
from bench.coded_training.grids import copies, rows_and_columns
from bench.coded_training.table import CodedTrainingTable
from bench.described import content_of
from models.store import Store
from training.coded import CodedWeight, LocalNodes, Rates, Rule
from training.coded.scheme import Scheme
from training.loop import Progress

ROWS, COLUMNS, BATCH = 9, 7, 5
F64 = np.dtype("float64")
SCHEMES = {
    "bare": copies(ROWS, COLUMNS, F64, 4, 3, 1),
    "copies": copies(ROWS, COLUMNS, F64, 2, 2, 3),
    "mds": rows_and_columns(ROWS, COLUMNS, F64, 2, 2, 2),
}


def drawn(*shape: int) -> "np.ndarray":  # type: ignore[type-arg]
    return np.random.default_rng(sum(shape)).standard_normal(shape)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_a_grid_computes_what_a_whole_weight_does(scheme: Scheme) -> None:
    assert scheme.count == 12
    weight = CodedWeight("w", scheme, LocalNodes(12))
    whole, x, d = drawn(ROWS, COLUMNS), drawn(COLUMNS, BATCH), drawn(ROWS, BATCH)
    weight.place(whole)
    assert np.allclose(weight.forward(x), whole @ x, rtol=0, atol=1e-12)
    assert np.allclose(weight.backward(d), whole.T @ d, rtol=0, atol=1e-12)
    weight.update(x, d, Rule(0.1))
    whole -= 0.1 * d @ x.T
    assert np.allclose(weight.forward(x), whole @ x, rtol=0, atol=1e-12)
    assert np.allclose(weight.decoded(), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["copies", "mds"])
@pytest.mark.parametrize("node", [0, 7, 11])
def test_a_grid_corrects_one_node(name: str, node: int) -> None:
    nodes = LocalNodes(12)
    weight = CodedWeight("w", SCHEMES[name], nodes)
    whole, x = drawn(ROWS, COLUMNS), drawn(COLUMNS, BATCH)
    weight.place(whole)
    block = nodes.block("w", node)
    right = block.weight
    block.weight = right + 1.0
    assert np.allclose(weight.forward(x), whole @ x, rtol=0, atol=1e-12)
    weight.scrub()
    assert weight.report.repaired == 1
    assert np.allclose(nodes.block("w", node).weight, right, rtol=0, atol=1e-12)


def test_without_a_code_nobody_notices() -> None:
    nodes = LocalNodes(12, Rates(product=1.0))
    weight = CodedWeight("w", SCHEMES["bare"], nodes)
    whole, x = drawn(ROWS, COLUMNS), drawn(COLUMNS, BATCH)
    weight.place(whole)
    assert np.abs(weight.forward(x) - whole @ x).max() > 0.1
    assert weight.report.retries == 0


@contextmanager
def quiet(title: str) -> Iterator[Callable[[Progress], None]]:
    yield lambda now: None


def test_a_row_is_trained_and_told(tmp_path: Path) -> None:
    content = content_of("coded-training")
    content |= {"steps": 6, "batch_size": 16, "hidden": [8], "rates": [0.2]}
    table = CodedTrainingTable.of(content)
    rows = table.rows("*4 blocks of rows.float64*")
    assert len(rows) == 1
    (record,) = table.run(rows[0], Store(tmp_path), quiet, "cpu")
    assert record["outcome"] == "done"
    assert record["difference"] < 1e-12
    assert record["rollbacks"] == 0
    assert record["located"] > 0
    ((scheme, dtype, rate, *_),) = table.cells(table.newest([record]))
    assert (scheme, dtype, rate) == (rows[0].scheme, "float64", "20 %")


def test_a_figure_is_drawn_of_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    with pytest.raises(LookupError, match="no records of coded-training"):
        document.draw(tmp_path)
    rows = CodedTrainingTable.of(content_of("coded-training")).rows("*float64*")
    about = {"accuracy": None, "retries": 0, "outcome": "given up at step 3"}
    told = [
        {"row": r.name, "scheme": r.scheme, "dtype": r.dtype, "rate": r.rate, **about} for r in rows
    ]
    records.append("coded-training", told)
    assert document.draw(tmp_path).stat().st_size > 10_000


def test_what_was_not_measured_is_left_out_of_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.coded_training.document.records.read", lambda table: iter(()))
    monkeypatch.setattr("bench.lagrange.document.draw", lambda folder: [folder / "cost.png"])
    monkeypatch.setattr("bench.cuts.document.draw", lambda path: path)
    done = CliRunner().invoke(app, ["figures", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "split-lagrange-cuts.png" in done.stdout
    assert "no records of coded-training" in done.stderr


def test_the_table_has_all_schemes_at_all_rates() -> None:
    rows = CodedTrainingTable.of(content_of("coded-training")).rows()
    assert {row.rate for row in rows} == {0.0, 0.02, 0.1, 0.2, 0.3}
    assert {row.spread.scheme(9, 7, F64).count for row in rows} == {12}
    assert len({row.scheme for row in rows}) == 5
