"""`kofn train base` and `kofn models`: a model gets into the store, and is told."""

import json
from pathlib import Path

from typer.testing import CliRunner

from kofn.cli import app

runner = CliRunner()


def test_a_trained_model_is_listed(tmp_path: Path) -> None:
    """One epoch of digits; the card says what was trained."""
    store = ["--store", str(tmp_path)]
    flags = ["--epochs", "1", "--name", "small", "--set", "hidden=[16]"]
    done = runner.invoke(app, ["train", "base", *flags, *store, "--json"])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert (card["name"], card["dataset"], card["network"]) == ("small", "digits", "mlp")
    (listed,) = json.loads(runner.invoke(app, ["models", "list", *store, "--json"]).stdout)
    assert listed["hash"] == card["hash"]
    assert "small" in runner.invoke(app, ["models", "list", *store]).stdout
    shown = runner.invoke(app, ["models", "show", "small", *store])
    assert json.loads(shown.stdout)["hash"] == card["hash"]


def test_an_unknown_model_is_an_error(tmp_path: Path) -> None:
    """It names those that there are."""
    done = runner.invoke(app, ["models", "show", "nope", "--store", str(tmp_path)])
    assert done.exit_code != 0
    assert "nope" in str(done.exception)
