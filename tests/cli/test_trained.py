"""Codes that belong to a model, by `kofn up`: trained for it, or exact for its degree."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kofn.cli import app
from kofn.cli.usual import usual_k
from models.store import Store
from support.commands import PATIENCE_S, Up, run, start

runner = CliRunner()

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

LATE = '{"delay": {"law": "constant", "value_ms": 3000}}'


def digits_past_a_straggler(up: Up) -> dict[str, Any]:
    """What `kofn infer digits` prints while one worker is late that nobody expected to be.

    One that begins on the parity is soon known as late, and stays there: then another is made late.
    """
    found: dict[str, Any] = {}
    for late in ("worker-1", "worker-2"):
        run("faults", "clear", *up.master)
        run("faults", "set", LATE, "--worker", late, *up.master)
        found = json.loads(run("infer", "digits", *up.master, "--json"))
        if found["decoded"] > 0:
            break
    return found


MLP = ("--model", "digits-mlp", "--k", "2", "--r", "1")
SHIPPED = ("--dataset", "digits")  # the largest that three workers hold


@pytest.mark.parametrize(
    ("code", "served", "least"),
    [  # a guess is right in one of ten; as few as 16 images are decoded
        ("backup", MLP, 0.3),
        ("assisted", MLP, 0.3),
        ("learned", MLP, 0.0),  # it has seen two epochs only
        ("mosaic", SHIPPED, 0.5),
        ("split-lagrange", ("--model", "digits-mlp", "--k", "2"), 0.5),
    ],
)
def test_a_straggler_s_answers_are_decoded(
    code: str, served: tuple[str, ...], least: float, trained_store: Store, tmp_path: Path
) -> None:
    """Found by its usual name; own answers stay direct, and nothing is missing."""
    flags = ("--workers", "3", "--code", code, *served)
    up = start(trained_store.root, tmp_path / "log", *flags)
    try:
        found = digits_past_a_straggler(up)
    finally:
        status = up.end()
    assert status == 0
    assert found["missing"] == 0
    assert found["decoded"] > 0
    assert found["direct"] + found["decoded"] == 359
    assert found["accuracy of decoded"] > least


def test_a_code_that_was_not_trained_is_refused(digits_store: Store) -> None:
    """It ends, and says what is missing."""
    flags = ["--model", "digits-mlp", "--code", "mosaic", "--k", "2", "--r", "1", "--workers", "3"]
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from kofn.cli import main; main()", "up", *flags),
            *("--port", "0", "--metrics-port", "0", "--store", str(digits_store.root)),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode != 0
    assert "code.checkpoint must name a trained code" in done.stderr


@pytest.fixture(scope="module")
def squares(digits_store: Store) -> float:
    """A network of degree 2 by that name; its accuracy."""
    store = ["--store", str(digits_store.root)]
    train = ["--name", "squares", "--epochs", "2", "--set", "activation=square"]
    trained = json.loads(run("train", "base", *train, "--set", "hidden=[16]", *store, "--json"))
    accuracy: float = trained["metrics"]["test_accuracy"]["value"]
    return accuracy


QUADRATIC = ("--model", "squares", "--code", "lagrange", "--degree", "2")


def test_a_quadratic_network_is_decoded_exactly(
    squares: float, digits_store: Store, tmp_path: Path
) -> None:
    """k = 3 of degree 2 from any 5 of 6 workers, of which one is late: not an answer differs."""
    up = start(digits_store.root, tmp_path / "log", "--workers", "6", *QUADRATIC)
    try:
        found = digits_past_a_straggler(up)
    finally:
        assert up.end() == 0
    assert found["missing"] == 0
    assert found["decoded"] > 0
    assert found["accuracy"] == pytest.approx(squares, abs=0.003)  # one image, at rounding's mercy


def test_a_liar_is_survived_and_shown(squares: float, digits_store: Store, tmp_path: Path) -> None:
    """k = 3 against one liar of 8 workers: as accurate as without it."""
    flags = ("--workers", "8", "--n", "7", "--liars", "1", "--wait", "first")
    up = start(digits_store.root, tmp_path / "log", *flags, *QUADRATIC)
    try:
        lie = '{"corruption": {"law": "sign-flip"}}'
        run("faults", "set", lie, "--worker", "worker-1", *up.master)
        found = json.loads(run("infer", "digits", *up.master, "--json"))
        status = json.loads(run("status", *up.master, "--json"))
        states = {worker["name"]: worker for worker in status["workers"]}
        table = runner.invoke(app, ["status", *up.master], env={"COLUMNS": "250"}).stdout
    finally:
        assert up.end() == 0
    assert found["missing"] == 0
    assert found["accuracy"] == pytest.approx(squares, abs=0.003)
    assert states["worker-1"]["state"] == "quarantined"
    assert int(states["worker-1"]["lies"]) >= 3
    assert states["worker-2"]["trust"] == 1.0
    for word in ("trust", "lies", "quarantined"):
        assert word in table


@pytest.mark.parametrize(
    ("code", "n", "settings", "liars", "k"),
    [
        ("parity", 6, {}, 0, 4),
        ("lagrange", 8, {}, 0, 6),
        ("lagrange", 8, {}, 1, 5),
        ("lagrange", 6, {"degree": 2}, 0, 3),
        ("lagrange", 7, {"degree": 2}, 1, 3),
        ("berrut", 8, {}, 2, 4),
        ("lagrange", 6, {"degree": 99}, 0, 4),  # no k does; the code says why
    ],
)
def test_k_is_as_large_as_the_workers_allow(
    code: str, n: int, settings: dict[str, int], liars: int, k: int
) -> None:
    assert usual_k(code, n, settings, liars) == k
