"""A plan in virtual time: each system at each point, what it cannot simulate refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.sweep.plan import read_plan
from bench.sweep.simulated import TITLES, cells, simulated
from kofn.settings import SettingsError
from models.store import Store


def test_every_system_at_every_point() -> None:
    """With a dead worker who sends nothing again has answers missing: no percentile is theirs."""
    plan = read_plan(Path("losses"))
    found = list(simulated(plan, 300, Store()))
    assert [(r["point"], r["system"]) for r in found] == [
        (point.name, system.name) for point in plan.points for system in plan.systems(point.workers)
    ]
    by = {(r["point"].split()[1], r["system"]): r for r in found}
    dead = by["lost=2", "uncoded"]
    assert dead["missing"] == pytest.approx(0.25, abs=0.01)
    assert dead["p50_ms"] is not None
    assert dead["p90_ms"] is None
    assert by["lost=2", "hedged"]["missing"] == 0
    whole = by["lost=0", "backup"]
    assert 10 < whole["p50_ms"] < whole["p90_ms"] < whole["p99_ms"] < 100
    assert whole["sent"] == 1.25
    assert all(len(cells(record)) == len(TITLES) for record in found)


def test_the_same_seed_gives_the_same() -> None:
    plan = read_plan(Path("worker-counts"))
    first, second, other = (next(simulated(plan, 200, Store(), seed=seed)) for seed in (3, 3, 4))
    assert first == second != other


def test_contention_is_measured_live_only() -> None:
    with pytest.raises(SettingsError, match="contention, which moves by wall time"):
        next(simulated(read_plan(Path("parm-k2")), 200, Store()))
    result = CliRunner().invoke(app, ["sweep", "parm-k2", "--simulated", "200"])
    assert result.exit_code == 2
    assert "contention" in result.stderr


def test_the_command_prints_records() -> None:
    result = CliRunner().invoke(app, ["sweep", "load", "--simulated", "100", "--json"])
    records = json.loads(result.stdout)
    assert {record["table"] for record in records} == {"simulated-sweeps"}
    assert records[0]["command"] == "python -m bench sweep load --simulated 100"
