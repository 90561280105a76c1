"""A plan is made and served, by the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kofn.cli import app
from support.commands import start

SLOW = "{law: constant, value_ms: 150, probability: 0.1}"
FEW = ("--workers", "3", "--rate", "60", "--queries", "100")

runner = CliRunner()

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


def test_a_plan_is_served(tmp_path: Path) -> None:
    """`kofn up` takes the file as it is, and it is as accurate as the plan says."""
    out, store = tmp_path / "plan.yaml", tmp_path / "store"
    asked = ("plan", "--slo-ms", "100", "--quantile", "0.9", "--accuracy-floor", "0.9", *FEW,
             "--straggler", SLOW, "--out", str(out), "--store", str(store))  # fmt: skip
    done = runner.invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    told = json.loads(done.stdout)
    assert told["chosen"]["meets"]
    assert told["chosen"]["tail_ms"] <= 100
    up = start(store, tmp_path / "log", "--config", str(out), "--workers", "3")
    try:
        answered = runner.invoke(app, ["infer", "digits", "--json", *up.master])
    finally:
        status = up.end()
    assert status == 0
    assert json.loads(answered.stdout)["accuracy"] >= 0.9


def test_a_plan_that_nothing_meets_writes_nothing(tmp_path: Path) -> None:
    """Status 1, and what comes nearest."""
    out, store = tmp_path / "plan.yaml", tmp_path / "store"
    flags = ("--slo-ms", "3", *FEW, "--out", str(out), "--store", str(store))
    done = runner.invoke(app, ["plan", *flags])
    assert done.exit_code == 1
    assert "Nothing meets p99 of 3 ms" in done.stdout
    assert "Nearest is" in done.stdout
    assert not out.exists()


def test_a_bad_wish_is_refused() -> None:
    """In words, before anything is simulated."""
    done = runner.invoke(app, ["plan", "--slo-ms", "50", "--quantile", "99"])
    assert done.exit_code != 0
    assert "between 0 and 1, not 99" in str(done.exception)
