"""Functions of matrices, code by code: the systems that need no training."""

from pathlib import Path
from typing import Any

import pytest

from bench import aicc, records
from models.functions import TARGETS
from models.store import Store


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Records of the eigenvalue, without any network."""
    store = Store(tmp_path_factory.mktemp("store"), shipped=None)
    return [*aicc.measure(TARGETS["wishart-4-eigenvalue"], [], store)]


def means(found: list[dict[str, Any]], system: str, n: int = 8) -> list[float]:
    (record,) = [r for r in found if (r["system"], r["n"]) == (system, n)]
    return [error["mean"] for error in record["errors"]]


def test_what_is_refused_counts_as_the_mean(found: list[dict[str, Any]]) -> None:
    """Degree 2 on a segment has R = 7; replication of 4 over 5 loses what has no second copy."""
    assert means(found, "exact, degree 2")[:6] == [1.0] * 6
    assert means(found, "exact, degree 2")[7] < 0.05
    assert means(found, "replication", 5)[3] == pytest.approx(3 / 4 * 1 / 5, abs=0.005)
    assert not [r for r in found if r["system"] == "exact, degree 2" and r["n"] == 5]


def test_calibration_keeps_berrut_below_the_mean(found: list[dict[str, Any]]) -> None:
    """Plain, it is worse than the mean where few respond."""
    assert max(means(found, "Berrut")) > 1
    assert max(means(found, "Berrut, calibrated")) < 1


def test_the_table_has_mean_and_worst_set(
    found: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    assert aicc.table(4, 8).startswith("Not measured yet")
    about = {"run": "2026-11-26T00:00:00", "commit": "abc", "machine": "here"}
    records.append(aicc.TABLE, [{**record, **about} for record in found])
    lines = aicc.table(4, 8).splitlines()
    assert lines[2].startswith("| eigenvalue | replication | 1.0 | 0.536 (")
    assert lines[2].endswith(" | 0.000 (0.00) |")
    monkeypatch.setattr(aicc, "PLOT", tmp_path / "aicc.png")
    aicc.draw()
    assert (tmp_path / "aicc.png").stat().st_size > 10_000
