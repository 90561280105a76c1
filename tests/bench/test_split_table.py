"""The table of split Lagrange networks: a row run for real on digits, and what is made of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import records, tabling
from bench.__main__ import app
from bench.described import BaseModel
from bench.lagrange import targets
from bench.lagrange.figures import against_answers
from bench.lagrange.plan import (
    Description,
    Helper,
    Published,
    Rows,
    Split,
    Stop,
    Target,
    Tried,
)
from bench.lagrange.table import (
    BASELINES,
    STANDING_TITLES,
    STOP_TITLES,
    TITLES,
    SplitTable,
    cells,
    cost_cells,
    newest,
    standing_cells,
    stop_cells,
)
from bench.tabling import open_table
from models.store import Store
from tests.bench.test_trainings import FIELDS, bar

pytestmark = pytest.mark.timeout(120)  # the first test waits for all that is trained

TABLE = SplitTable(
    Description(
        kind="split-lagrange",
        title="a test's",
        bases={"digits-mlp": BaseModel("digits", "mlp", {"hidden": [32]}, epochs=4)},
        rows=[
            Rows(
                base="digits-mlp",
                k=2,
                slots=[3, 5],
                split=Split("linear1", [3, 4], 4, {"batch_size": 256}),
                helpers=[Helper("backup", 2), Helper("parity", 2)],
                images=100,
            )
        ],
        tried=Tried(["first", "open"], [0.0], [0.0, 1.0], images=100),
        stop=Stop(gain=1.5, orders=20),
        published=[Published("digits", 2, 3, 1, "A code", 0.5, 0.9, "a figure", "somebody")],
    )
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    store = Store(tmp_path_factory.mktemp("store"), shipped=None)
    made = [
        {"run": "now", **json.loads(json.dumps(record))}
        for row in TABLE.rows()
        for record in TABLE.run(row, store, bar, "cpu")
    ]
    assert len(store.codes.names()) == 3  # one training of each kind serves both rows
    return made


def test_a_row_has_a_record_for_every_number_of_answers(found: list[dict[str, Any]]) -> None:
    three = [record for record in found if record["n"] == 3]
    assert [record["lost"] for record in three] == [0, 1, 2, None]
    whole, one, two, stop = three
    for record in (whole, one, two):
        assert set(record) >= FIELDS
        assert record["worst"] <= record["overall"] <= 1
        assert record["interval"][0] <= record["overall"] <= record["interval"][1]
        for of in record["baselines"].values():
            assert of["worst"] <= of["overall"]
    assert set(one["baselines"]) == set(BASELINES)
    assert (one["sets"], one["sampled"], one["groups"]) == (3, False, 50)
    # Nothing is lost where nobody is, and one of three copies of two queries leaves 5 of 6.
    clean = whole["base_accuracy"]
    for name in ("uncoded", "replication", "backup", "parity"):
        assert whole["baselines"][name]["overall"] == pytest.approx(clean, abs=1e-4)
    copies = one["baselines"]["replication"]["overall"]
    assert copies == pytest.approx(5 / 6 * clean + 0.1 / 6, abs=0.03)
    assert one["variants"]["systematic"]["overall"] < 1
    assert one["published"][0]["system"] == "A code"
    assert two["published"] == []
    assert 2 <= stop["stop"]["answers"] <= 3


def test_beyond_two_slots_a_query_nothing_is_systematic(found: list[dict[str, Any]]) -> None:
    five = [record for record in found if record["n"] == 5]
    assert all("systematic" not in record["variants"] for record in five[:-1])
    assert all("parity" not in record["baselines"] for record in five[:-1])


def test_costs_are_of_both_designs(found: list[dict[str, Any]]) -> None:
    costs = found[0]["costs"]
    assert costs["mixer"] == pytest.approx(2 * costs["stem"] + costs["worker"], abs=1e-3)
    assert costs["worker_bytes"] == 3 * (4 * 64 + 4)
    assert costs["master_bytes"] == pytest.approx(3 * costs["payload"] * 4 * 64 / 2, abs=1)
    assert costs["stem"] + costs["worker"] == pytest.approx(1, abs=1e-3)


def test_cells_are_the_records(found: list[dict[str, Any]]) -> None:
    lines = cells(newest(found))
    assert all(len(line) == len(TITLES) for line in lines)
    one = next(record for record in found if record["n"] == 3 and record["lost"] == 1)
    line = next(line for line in lines if line[:3] == ("2", "3", "2"))
    both = f"{100 * one['overall']:.1f} / {100 * one['worst']:.1f}"
    assert line[TITLES.index("**split Lagrange**")] == f"**{both}**"
    assert line[TITLES.index("published")] == "A code 50.0"
    stops = stop_cells(newest(found))
    assert [line[2] for line in stops] == ["3", "5"]
    assert len(stops[0]) == len(STOP_TITLES)
    assert len(cost_cells(newest(found))) == 1


def test_where_it_stands_is_counted(found: list[dict[str, Any]]) -> None:
    whole = [{**one, "overall": 1.0} for one in newest(found)]
    (line,) = standing_cells(whole)
    assert len(line) == len(STANDING_TITLES)
    assert line[:3] == ("digits-mlp", "2", "6")  # 2 of n = 3, and 4 of n = 5
    lossy = [one["baselines"]["uncoded"]["overall"] for one in whole if one["lost"]]
    points = 100 * (1 - sum(lossy) / len(lossy))
    assert line[STANDING_TITLES.index("above uncoded")] == f"6 of 6 ({points:+.1f})"
    assert line[STANDING_TITLES.index("above parity")].startswith("2 of 2")


def test_the_newest_record_of_a_cell_counts(found: list[dict[str, Any]]) -> None:
    broken = {**TABLE.failed(TABLE.rows()[0], ValueError("no")), "run": "later"}
    again = {**found[1], "overall": 0.5}
    assert newest([*found, again, broken])[1]["overall"] == 0.5


def test_targets_are_compared_with_records(found: list[dict[str, Any]]) -> None:
    cell = {"model": "digits-mlp", "k": 2, "n": 3, "answers": 2}
    one = next(record for record in found if record["n"] == 3 and record["lost"] == 1)
    mean, worst = one["overall"], one["worst"]
    aims = [
        Target("met", "cell", **cell, must=[mean, worst], good=[mean + 0.01, worst]),
        Target("missed", "cell", **cell, must=[mean, worst + 0.01]),
        Target("better", "cell", **cell, must=[mean], good=[mean]),
        Target("elsewhere", "cell", model="another"),
        Target("stop", "stop", model="digits-mlp", n=3, must=[0.0], good=[1.0]),
        Target("costs", "costs", good=[1.0, 1.0, 0.01]),
        Target("loss", "loss", must=[1.0], good=[-1.0]),
    ]
    reached = [line[-1] for line in targets.cells(aims, newest(found))]
    assert reached == ["must", "no", "good", "–", "must", "must", "must"]


def test_below_replication_is_said(found: list[dict[str, Any]]) -> None:
    worse = [{**one, "overall": 0.0} if one["lost"] == 1 else one for one in newest(found)]
    aim = [Target("all", "replication")]
    (line,) = targets.cells(aim, worse)
    assert line[-1] == "no"
    assert "digits-mlp.k2.n3 with 2" in line[3]


def test_a_figure_is_drawn(found: list[dict[str, Any]], tmp_path: Path) -> None:
    against_answers(tmp_path / "figure.png", newest(found), "a test's")
    assert (tmp_path / "figure.png").read_bytes()[1:4] == b"PNG"


def test_rows_with_a_record_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabling, "open_table", lambda name: TABLE)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(SplitTable, "run", lambda *_: 1 / 0)
    flags = ["tables", "any", "--rows", "*.n3", "--store", str(tmp_path / "store")]
    for count, more in ((1, []), (1, []), (2, ["--again"])):
        done = CliRunner().invoke(app, [*flags, *more])
        assert done.exit_code == 0, done.output
        assert len(list(records.read("any"))) == count
    assert next(iter(records.read("any")))["error"] == "ZeroDivisionError: division by zero"


def test_a_table_is_opened_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    table = open_table("lagrange")
    rows = table.rows()
    assert len({row.name for row in rows}) == len(rows)
    assert {(row.k, row.n) for row in table.rows("mnist-lenet.k8.*")} == {
        (8, 9), (8, 10), (8, 12), (8, 16),
    }  # fmt: skip
    (short,) = table.rows("mnist-lenet.k4.n5", most_epochs=1)
    assert (short.split.epochs, short.base.epochs) == (1, 1)
    monkeypatch.setattr(tabling, "content_of", lambda name: {"kind": "no"})
    with pytest.raises(ValueError, match="split-lagrange"):
        open_table("any")


def test_the_base_models_of_both_tables_are_the_same() -> None:
    mine, theirs = open_table("lagrange"), open_table("learned-codes")
    for model in ("mnist-lenet", "cifar10-resnet"):
        assert mine.described.bases[model] == theirs._described.bases[model]
