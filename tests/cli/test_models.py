"""`kofn train base` and `kofn models`: a model gets into the store, and is told."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kofn.cli import app
from models.store import Store

runner = CliRunner()


def test_a_trained_model_is_listed(tmp_path: Path) -> None:
    """One epoch of digits; the card says what was trained."""
    store = ["--store", str(tmp_path)]
    flags = ["--epochs", "1", "--name", "small", "--set", "hidden=[16]"]
    done = runner.invoke(app, ["train", "base", *flags, *store, "--json"])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert (card["name"], card["dataset"], card["network"]) == ("small", "digits", "mlp")
    listed = json.loads(runner.invoke(app, ["models", "list", *store, "--json"]).stdout)
    hashes = {model["name"]: model["hash"] for model in listed}  # shipped ones among them
    assert hashes["small"] == card["hash"]
    assert "small" in runner.invoke(app, ["models", "list", *store]).stdout
    shown = runner.invoke(app, ["models", "show", "small", *store])
    assert json.loads(shown.stdout)["hash"] == card["hash"]


def test_an_unknown_model_is_an_error(tmp_path: Path) -> None:
    """It names those that there are."""
    done = runner.invoke(app, ["models", "show", "nope", "--store", str(tmp_path)])
    assert done.exit_code != 0
    assert "nope" in str(done.exception)


def test_a_student_is_trained_and_listed(trained_store: Store) -> None:
    """The widest that a third of the base's cost allows; a second one does not take its name."""
    store = ["--store", str(trained_store.root)]
    train = ["train", "student", "--base", "digits-mlp", "--k", "2", "--cost", "1/3"]
    done = runner.invoke(app, [*train, "--name", "third", "--epochs", "1", *store, "--json"])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert card["code"] == "backup"
    assert card["parameters"] == {"k": 2, "n": 3, "distinct": False}
    assert 0.6 < card["cost"] <= 2 / 3
    listed = json.loads(runner.invoke(app, ["models", "codes", *store, "--json"]).stdout)
    assert "third" in [card["name"] for card in listed]
    assert "third" in runner.invoke(app, ["models", "codes", *store]).stdout
    again = runner.invoke(app, [*train, "--name", "third", "--epochs", "1", *store])
    assert again.exit_code != 0
    assert "third" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["parity", "--encoder", "sums"], "sum or mosaic"),
        (["student", "--cost", "2"], "1/4"),
        (["learned", "--base", "nope"], "nope"),
        (["learned", "--loss", "l2"], "mse-base"),
    ],
)
def test_bad_trainings_are_refused(arguments: list[str], says: str, trained_store: Store) -> None:
    flags = ["--base", "digits-mlp", "--name", "refused", "--store", str(trained_store.root)]
    done = runner.invoke(app, ["train", arguments[0], *flags, *arguments[1:]])
    assert done.exit_code != 0
    assert says in done.output + str(done.exception)
    assert "refused" not in trained_store.codes.names()


@pytest.mark.parametrize(
    ("command", "code", "programs"),
    [
        (["assisted", "--r", "1"], "assisted", {"helper"}),
        (["learned", "--r", "2", "--assisted"], "learned", {"student"}),
        (["student", "--r", "2", "--distinct"], "backup", {"student-0", "student-1"}),
    ],
)
def test_codes_with_students_are_trained(
    command: list[str], code: str, programs: set[str], trained_store: Store
) -> None:
    name = f"{code}-of-the-test"
    flags = ["--base", "digits-mlp", "--k", "2", "--epochs", "1", "--name", name]
    store = ["--store", str(trained_store.root)]
    done = runner.invoke(app, ["train", *command, *flags, *store, "--json"])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert (card["code"], set(card["programs"])) == (code, programs)
    assert "student: {" in done.stderr
