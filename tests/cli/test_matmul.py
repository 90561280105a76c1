"""What `kofn matmul` refuses before it starts anything."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kofn.cli import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A.npy [3, 2], an A that is no matrix, and something of the user's as C."""
    np.save(tmp_path / "A.npy", np.ones((3, 2)))
    np.save(tmp_path / "row.npy", np.ones(3))
    (tmp_path / "C.npy").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["A.npy", "D.npy", "--out", "C.npy"], "D.npy cannot be read as .npy"),
        (["A.npy", "C.npy", "--out", "C.npy"], "C.npy cannot be read as .npy"),
        (["A.npy", "row.npy", "--out", "C.npy"], "row.npy must be a matrix"),
        (["A.npy", "A.npy", "--out", "A.npy"], "must not be an operand"),
        (["A.npy", "A.npy", "--out", "no/C.npy"], "is no folder"),
        (["A.npy", "A.npy", "--out", "C.npy", "-m", "2"], "all or none"),
        (
            ["A.npy", "A.npy", "--out", "C.npy", "--family", "chebyshev"],
            "family must be one of auto",
        ),
        (["A.npy", "A.npy", "--out", "C.npy", "--timeout-s", "0"], "timeout_s must be above 0"),
        (
            ["A.npy", "A.npy", "--out", "C.npy", "--master", "127.0.0.1:1", "--workers", "3"],
            "go without --master",
        ),
        (["A.npy", "A.npy", "--out", "C.npy", "--tls", "."], "goes with --master"),
        (
            ["A.npy", "A.npy", "--out", "C.npy", "--faults", '{"delay": {"law": "exponential"}}'],
            "law must not be 'exponential'",
        ),
    ],
)
def test_refusals(
    folder: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words that say what is accepted; what was there is left as it was."""
    monkeypatch.chdir(folder)
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["matmul", *arguments])
    assert done.exit_code != 0
    assert says in f"{done.output} {done.exception}"
    assert (folder / "C.npy").read_text() == "mine"


def test_tls_of_the_environment_is_for_calls_with_a_master(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has set it for other commands can multiply without a master; here the next refusal."""
    monkeypatch.chdir(folder)
    arguments = ["matmul", "A.npy", "A.npy", "--out", "A.npy"]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments, env={"KOFN_TLS": "."})
    assert "must not be an operand" in done.output
