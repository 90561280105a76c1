"""The command refuses what it cannot do, before it starts anything."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from models.store import Store
from support.plans import GOOD, write


def sweep(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and what was said."""
    result = CliRunner().invoke(app, ["sweep", *map(str, arguments)])
    return result.exit_code, " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("name: parity,", "name: party,", "plan.yaml:15"),
        ("checkpoint: x", "checkpoint: digits-lenet.no-such", "plan.yaml:17"),
        ('"{dataset}-lenet"', "digits-lent", "plan.yaml:3"),
    ],
)
def test_a_bad_plan_is_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    """By its line; the store is asked, too."""
    plan = write(tmp_path, GOOD.replace(old, new))
    store = Store(tmp_path / "store")
    status, said = sweep(plan, "--out", tmp_path / "out", "--store", store.root)
    assert status == 2
    assert what in said


def test_a_folder_of_another_plan_is_refused(tmp_path: Path) -> None:
    plan = write(tmp_path, GOOD)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.json").write_text('{"name": "other", "hash": "0", "plan": {}}')
    status, said = sweep(plan, "--out", tmp_path / "out")
    assert status == 2
    assert "belongs to the plan 'other'" in said
