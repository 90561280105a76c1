"""Several models on a cluster of processes: merged, served, one lost, one replaced."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.conftest import Up, start
from typer.testing import CliRunner

from kofn.cli import app
from models import data
from models.programs import load_program
from models.store import Store
from support.commands import run
from support.families import family, keep

RUNNER = CliRunner()
LATE = '{"delay": {"law": "constant", "value_ms": 3000, "interruptible": true}}'
COUNT = 48

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """a, b and c of one start, and a and b merged."""
    kept = Store(tmp_path_factory.mktemp("store"), shipped=None)
    for name, module in zip("abc", family("digits", 3), strict=True):
        keep(kept, name, "digits", module, dataset="digits")
    run("merge", "a", "b", "--inputs", "256", "--samples", "16", "--store", str(kept.root))
    return kept


@pytest.fixture(scope="module")
def up(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    running = start(store.root, folder / "log", "--workers", "3", "--models", "a,b")
    yield running
    assert running.end() == 0


def infer(up: Up, *flags: str) -> dict[str, Any]:
    told = run("infer", "digits", "--count", str(COUNT), *flags, *up.master, "--json")
    found: dict[str, Any] = json.loads(told)
    return found


def answers(store: Store, name: str) -> np.ndarray:
    """Of a model of the store itself, to the images that `infer` asks for."""
    images = data.load("digits", "test").images[:COUNT]
    given: np.ndarray = load_program(store.archive(name))([images])[0].numpy()
    return given


def test_all_models_are_asked_each_query(up: Up, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    found = infer(up, "--wait", "all", "--out", str(out))
    assert found["a: direct"] == found["b: direct"] == COUNT
    assert [row["image"] for row in found["answers"]][::COUNT] == ["test 0 to a", "test 0 to b"]
    told = np.load(out)
    for i, name in enumerate("ab"):
        np.testing.assert_allclose(told[:, i], answers(store, name), rtol=1e-3, atol=1e-3)
    status = json.loads(run("status", "--json", *up.master))
    (deployment,) = status["deployments"]
    assert deployment["models"] == ["a", "b"]
    assert int(deployment["checked_batches"]) > 0
    assert 0 < deployment["residual"] < 1


def test_one_model_and_the_mean(up: Up, store: Store, tmp_path: Path) -> None:
    one = infer(up, "--models", "b")
    assert one["direct"] + one["decoded"] == COUNT
    out = tmp_path / "out.npy"
    infer(up, "--models", "mean", "--wait", "all", "--out", str(out))
    mean = (answers(store, "a") + answers(store, "b")) / 2
    np.testing.assert_allclose(np.load(out), mean, rtol=1e-3, atol=1e-3)
    refused = RUNNER.invoke(app, ["infer", "digits", "--models", "c", *up.master])
    assert "Unknown output 'c'; accepted: a, b, mean" in str(refused.exception)


def test_a_straggler_s_model_is_decoded(up: Up) -> None:
    """If the first one, known to be late, only ever gets the merged model, then not the second."""
    decoded = 0
    for name in ("worker-1", "worker-0"):
        run("faults", "set", LATE, "--worker", name, *up.master)
        try:
            found = infer(up, "--batch", "8", "--concurrency", "1")
        finally:
            run("faults", "clear", *up.master)
        assert found["a: missing"] == found["b: missing"] == 0
        decoded += found["a: decoded"] + found["b: decoded"]
    assert decoded > 0


def test_a_model_is_replaced_with_its_merged_ones(up: Up, store: Store, tmp_path: Path) -> None:
    code = store.codes.names()[0]
    run("merge", "b=c", "--update", code, "--store", str(store.root))
    file = tmp_path / "deployment.yaml"
    wanted = {
        "name": "a-b",
        "models": {"a": "a", "b": "c"},
        "code": {"name": "coin", "k": 2, "n": 3, "checkpoint": code},
    }
    file.write_text(json.dumps({"deployments": [wanted]}))
    assert store.card("c").hash in run("deploy", str(file), "--json", *up.master)
    out = tmp_path / "out.npy"
    infer(up, "--models", "b", "--wait", "all", "--out", str(out))
    np.testing.assert_allclose(np.load(out), answers(store, "c"), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--models", "a,c"], "run `kofn merge a c --r 1`"),
        (["--models", "a,b", "--code", "parity"], "must be coin or product"),
        (["--models", "a,b", "--k", "3"], "must be the number of models, 2, not 3"),
        (["--models", "a,b", "--model", "a"], "goes alone"),
    ],
)
def test_what_cannot_be_served_is_refused(store: Store, flags: list[str], says: str) -> None:
    done = RUNNER.invoke(app, ["up", *flags, "--store", str(store.root)], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert says in done.output
