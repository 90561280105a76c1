"""A plan in virtual time: each system at each point, contention too."""

import json
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.sweep.plan import read_plan
from bench.sweep.simulated import TITLES, cells, simulated
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


def test_contention_is_simulated() -> None:
    """What gets a second chance has a shorter tail under it."""
    plan = read_plan(Path("parm-k2"))
    by = {record["system"]: record for record in islice(simulated(plan, 2000, Store()), 6)}
    assert by["uncoded"]["p50_ms"] < 30 < 60 < by["uncoded"]["p99_ms"]
    assert 2 * by["hedged"]["gap_ms"] < by["uncoded"]["gap_ms"]


def test_contention_that_fails_workers_is_refused(tmp_path: Path) -> None:
    text = Path(read_plan(Path("parm-k2")).source).read_text()
    file = tmp_path / "plan.yaml"
    contended = "contended: {delay: {law: expon, shift_ms: 20, scale_ms: 40}"
    failure = "failure: {kind: drop, probability: 0.1}"
    file.write_text(text.replace(contended, f"{contended}, {failure}"))
    result = CliRunner().invoke(app, ["sweep", str(file), "--simulated", "200"])
    assert result.exit_code == 2
    assert "contended must be a delay and nothing else" in " ".join(result.stderr.split())


def test_the_command_prints_records() -> None:
    result = CliRunner().invoke(app, ["sweep", "load", "--simulated", "100", "--json"])
    records = json.loads(result.stdout)
    assert {record["table"] for record in records} == {"simulated-sweeps"}
    assert records[0]["command"] == "python -m bench sweep load --simulated 100"
