"""A row of a table of trained codes, run for real on digits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import records, tabling
from bench.__main__ import app
from bench.cells import BaseModel, Description, Grid, Published, published_for, rows_of
from bench.trained_codes import TrainedCodes
from bench.trainings import run_row
from models.store import Store
from training.loop import Progress

TABLE = Description(
    title="a test's",
    bases={"digits-mlp": BaseModel("digits", "mlp", {"hidden": [32]}, epochs=4)},
    grids=[
        Grid(
            code="mosaic",
            epochs=2,
            r=2,
            each={"base": ["digits-mlp"], "k": [2], "recipe.loss": ["mse", "decoded"]},
        ),
        Grid(code="backup", epochs=2, each={"base": ["digits-mlp"], "k": [2]}),
    ],
    published=[Published("digits", "mosaic", 2, "a figure", "somebody", 1.5)],
)
# What every record of bench/results must have, whatever the table.
FIELDS = {
    "dataset", "model", "code", "k", "n", "recovery_threshold", "lost", "clean", "overall",
    "lost_only", "worst", "agreement", "interval", "published", "baselines", "seed", "groups",
    "seconds", "machine", "versions", "commit", "dirty",
}  # fmt: skip


@contextmanager
def bar(title: str) -> Iterator[Callable[[Progress], None]]:
    yield lambda now: None


def run(name: str, store: Store) -> list[dict[str, Any]]:
    (row,) = rows_of(TABLE, name)
    return list(run_row(row, store, published_for(TABLE, row), bar))


def test_a_row_is_trained_and_measured(tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    found = run("digits-mlp.mosaic-k2-r2.mse", store)
    assert [(one["decoder"], one["lost"]) for one in found] == [
        ("plain", 1), ("plain", 2), ("lmmse", 1), ("lmmse", 2),
    ]  # fmt: skip
    one, two = found[:2]
    assert set(one) >= FIELDS
    assert one["worst"] <= one["lost_only"] <= one["clean"]
    assert one["clean"] > one["overall"] > one["baselines"]["uncoded"]
    # A quarter of all answers lost at once, or of them the half that has no copy.
    assert one["baselines"]["uncoded"] == pytest.approx(0.75 * one["clean"] + 0.025, abs=1e-4)
    assert two["baselines"]["replication"] == pytest.approx(
        (1 - 1 / 6) * two["clean"] + 0.1 / 6, abs=1e-4
    )
    assert one["right"]
    assert two["right"] is None
    assert one["published"][0]["gap"] == 1.5
    (base,) = store.names()
    trained = store.card(base)
    run("digits-mlp.mosaic-k2-r2.decoded", store)
    assert store.card(base) == trained  # the same base, not once more
    assert len(store.codes.names()) == 2


def test_the_command_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with a record are left alone; a row that fails is a record, too."""
    monkeypatch.setattr(tabling, "open_table", lambda name: TrainedCodes(TABLE))
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    flags = ["tables", "any", "--rows", "*backup*", "--store", str(tmp_path / "store")]
    for count in (2, 2, 4):
        more = ["--again"] if count == 4 else []
        done = CliRunner().invoke(app, [*flags, *more])
        assert done.exit_code == 0, done.output
        assert len(list(records.read("any"))) == count
    assert "backup-k2-r1" in done.stdout
    monkeypatch.setattr("bench.trainings.train_code", lambda *_, **__: 1 / 0)
    done = CliRunner().invoke(app, [*flags, "--again"])
    assert done.exit_code == 0
    assert list(records.read("any"))[-1]["error"] == "ZeroDivisionError: division by zero"
