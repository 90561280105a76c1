"""`kofn merge`: models of the store and files of the user's own, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from kofn.cli import app
from models.store import Store
from support.families import family, fresh, inputs, keep

RUNNER = CliRunner()
FILE = "from support.families import fresh\n\n\ndef build():\n    return fresh({kind!r})\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"), shipped=None)
    for name, module in zip(("a", "b", "common"), family("digits", 3), strict=True):
        keep(store, name, "digits", module, dataset="digits")
    keep(store, "stranger", "digits", fresh("digits", 9), start="", dataset="digits")
    return store


def run(store: Store, *arguments: str, status: int = 0) -> str:
    """Standard output and error together, or the message of what was raised."""
    result = RUNNER.invoke(app, ["merge", *arguments, "--store", str(store.root)])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        assert status == 1, result.exception
        return str(result.exception)
    assert result.exit_code == status, result.output
    return re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def test_models_of_the_store(store: Store) -> None:
    told = run(store, "a", "b", "--inputs", "64", "--samples", "8")
    assert "coding loss" in told
    assert store.card("a").hash[:12] in told
    card = store.codes.card("a+b.coin-k2-r1")
    damping = card.recipe["damping"]
    how = "the plain average" if damping is None else f"damping {damping:g}"
    assert f"coin-k2-r1: coin, {how}" in told
    assert [(one.name, one.hash) for one in card.parents] == [
        (name, store.card(name).hash) for name in "ab"
    ]
    assert card.recipe["calibration"] == ["digits"]  # of both
    assert card.metrics["agreement"].value > 0.5
    told = run(store, "a", "b", status=1)
    assert "a+b.coin-k2-r1' is kept already: choose --name, or --overwrite" in told


def test_weights_method_and_json(store: Store) -> None:
    flags = ["--method", "average", "--weights", "3,1", "--weights", "1,3", "--decoder", "fixed"]
    told = run(store, "a", "b", *flags, "--name", "two", "--json", "--calibration", "digits")
    card = json.loads(told[told.index("{") :])
    assert card["parameters"] == {
        "k": 2, "n": 4, "weights": [[0.75, 0.25], [0.25, 0.75]], "decoding": "fixed",
    }  # fmt: skip
    assert sorted(card["programs"]) == ["coded-0", "coded-1"]


def test_another_model_in_a_place(store: Store) -> None:
    run(store, "a", "b", "--method", "average", "--name", "code", "--inputs", "64")
    told = run(store, "b=common", "--update", "code")
    assert store.card("common").hash[:12] in told
    assert [parent.name for parent in store.codes.card("code").parents] == ["a", "common"]
    assert "must be one OLD=NEW" in run(store, "b", "--update", "code", status=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "each once, not a"),
        (["a", "bb"], "There is no model 'bb'"),
        (["a", "stranger"], "have no common start"),
        (["a", "b", "--weights", "2,-1"], "must not be below 0 with method 'coin'"),
        (["a", "b", "--weights", "1,1,1"], "1 rows of 2 weights"),
        (["a", "b", "--method", "mean"], "must be one of coin, average"),
        (["a", "b", "--calibration", "digitz"], "Did you mean 'digits'"),
        (["a", "b", "--limit", "0.000001", "--samples", "4"], "squared error is"),
        (["a", "b", "--method", "fisher-merge", "--calibration", "digits"], "own inputs"),
    ],
)
def test_what_is_refused(store: Store, arguments: list[str], message: str) -> None:
    assert message in run(store, *arguments, "--name", "refused", status=1)
    assert "refused" not in store.codes.names()


@pytest.mark.parametrize("kind", ["tied", "attention"])
def test_files_of_the_users_own(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    store = Store(tmp_path / "store", shipped=None)
    for name, module in zip("AB", family(kind), strict=True):
        state = module.state_dict()
        save_file({key: value.clone() for key, value in state.items()}, f"{name}.safetensors")
    Path(f"own_{kind}.py").write_text(FILE.format(kind=kind))
    np.savez("calibration.npz", inputs=inputs(kind, 64, 5).numpy())
    files = ["A.safetensors", "B.safetensors", "--arch", f"own_{kind}:build"]
    flags = ["--samples", "4", "--limit", "9", "--calibration"]
    told = run(store, *files, *flags, "calibration.npz")
    assert "A+B.coin-k2-r1: coin" in told
    assert store.names() == ("A", "B")
    assert store.card("A").network == f"own_{kind}:build"

    np.savez("wrong.npz", inputs=np.zeros((64, 3), np.float32))
    assert "does not take calibration inputs of shape [3]" in run(
        store, *files, *flags, "wrong.npz", status=1
    )
    save_file({"w": inputs(kind, 1, 0)}, "B.safetensors")
    assert "is of another architecture than the architecture: it lacks" in run(
        store, *files, *flags, "calibration.npz", status=1
    )
    assert "MODULE:FUNCTION" in run(store, *files[:2], *flags, "calibration.npz", status=2)


def test_an_architecture_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "store", shipped=None)
    save_file(fresh("mlp").state_dict(), "A.safetensors")
    flags = ["A.safetensors", "A.safetensors", "--calibration", "x.npz", "--arch"]
    assert "must be MODULE:FUNCTION, not 'mine'" in run(store, *flags, "mine", status=1)
    assert "No module named 'nowhere'" in run(store, *flags, "nowhere:build", status=1)
    assert "must return a torch.nn.Module, not" in run(store, *flags, "pathlib:Path", status=1)
