"""A function served by a network that was trained to stand for it on mixes: `kofn train aicc`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kofn.cli import app
from models.store import Store
from support.commands import start

runner = CliRunner()

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

LATE = '{"delay": {"law": "constant", "value_ms": 3000}}'
TRAIN = ["train", "aicc", "--function", "eigenvalue", "--size", "4", "--k", "2", "--n", "4"]
MODEL = "wishart-4-eigenvalue"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With the function and a network for it, after three short epochs."""
    store = Store(tmp_path_factory.mktemp("store"), shipped=None)
    flags = ["--epochs", "3", "--set", "width=64", "--store", str(store.root), "--json"]
    done = runner.invoke(app, [*TRAIN, *flags])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert card["parameters"]["dimension"] == 2
    assert card["time_cost"] > 0
    assert store.names() == (MODEL,)
    assert store.codes.names() == (f"{MODEL}.split-lagrange-k2",)
    assert [*store.codes.card(store.codes.names()[0]).errors] == [1, 2, 3, 4]
    return store


def test_it_is_answered_past_a_straggler(store: Store, tmp_path: Path) -> None:
    """From the three others, all decoded; errors as the network has them, and told."""
    flags = ("--workers", "4", "--model", MODEL, "--code", "split-lagrange")
    up = start(store.root, tmp_path / "log", *flags)
    try:
        late = runner.invoke(app, ["faults", "set", LATE, "--worker", "worker-1", *up.master])
        assert late.exit_code == 0, late.output
        done = runner.invoke(app, ["infer", MODEL, "--count", "400", *up.master, "--json"])
        assert done.exit_code == 0, done.output
        few = runner.invoke(app, ["infer", MODEL, "--count", "4", *up.master])
        assert few.exit_code == 0, few.output
    finally:
        assert up.end() == 0
    found = json.loads(done.stdout)
    assert found["decoded"] == 400
    assert found["missing"] == 0
    assert found["error"] < 0.6  # of two responders at least; the mean has 1
    assert found["expected error of decoded"] == pytest.approx(found["error"], rel=0.3)
    assert found["request p99 ms"] < 3000
    assert "accuracy" not in found
    row = found["answers"][0]
    assert isinstance(row["answer"], list)
    assert len(row["answer"]) == 1
    assert row["expected_error"] > 0
    assert "error of decoded" in few.output


def test_the_function_itself_is_served_uncoded(store: Store, tmp_path: Path) -> None:
    up = start(
        store.root, tmp_path / "log", "--workers", "2", "--model", MODEL, "--code", "uncoded"
    )
    try:
        done = runner.invoke(app, ["infer", MODEL, "--count", "64", *up.master, "--json"])
    finally:
        assert up.end() == 0
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["direct"] == 64
    assert found["error"] < 1e-6
    assert "error of decoded" not in found


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--function", "trace"], "'function' must be one of determinant"),
        (["--size", "5"], "'size' must be one of 4, 8"),
        (["--k", "5", "--n", "4"], "'n' must be at least k = 5"),
        (["--recovery-threshold", "1"], "'recovery_threshold' must be in k..n = 2..4, not 1"),
        (["--recovery-threshold", "5"], "'recovery_threshold' must be in k..n = 2..4, not 5"),
        (["--set", "layer=2"], "no 'layer'"),
        ([], "is kept already"),
    ],
)
def test_what_cannot_be_trained_is_refused(store: Store, flags: list[str], says: str) -> None:
    done = runner.invoke(app, [*TRAIN, *flags, "--store", str(store.root)])
    assert done.exit_code != 0
    assert says in f"{done.output}{done.exception}"
