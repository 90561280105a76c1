"""`kofn simulate`: a table, JSON, a figure, and refusals that say what is accepted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kofn.cli import app

SLOW = '{"law": "bimodal", "slow_ms": 180, "slow_probability": 0.05}'
SOON = ("--queries", "300", "--workers", "12", "--straggler", SLOW)

runner = CliRunner()


def told(*flags: str) -> dict:
    result = runner.invoke(app, ["simulate", "--json", *flags])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_prints_a_table_and_draws(tmp_path: Path) -> None:
    figure = tmp_path / "latency.png"
    result = runner.invoke(app, ["simulate", *SOON, "--plot", str(figure)])
    assert result.exit_code == 0, result.output
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "p99 ms" in result.stdout
    assert "Parity(k=4, n=6" in result.stdout


def test_json_has_shares_that_sum_to_one_and_a_seed_that_matters() -> None:
    first, again = told(*SOON), told(*SOON)
    other = told(*SOON, "--seed", "1")
    assert first["direct"] + first["decoded"] + first["missing"] == pytest.approx(1.0)
    assert first["method"] == "events"
    assert (first["mean_ms"], first["events"]) == (again["mean_ms"], again["events"])
    assert first["mean_ms"] != other["mean_ms"]


def test_load_is_a_share_of_the_workers_time() -> None:
    """A tenth of ten workers, 20 ms a task: 50 requests a second, and a tenth of them busy."""
    flags = ("--code", "uncoded", "--k", "1", "--workers", "10", "--worker-rows", "1")
    seen = told(*flags, "--load", "0.1", "--queries", "3000")
    assert "50 requests/s" in seen["setting"]
    assert seen["utilisation"] == pytest.approx(0.1, rel=0.1)
    late = '{"law": "constant", "value_ms": 20, "probability": 0.5}'  # a task takes 30 ms, then
    pairs = told(*flags, "--load", "0.1", "--rows", "2", "--straggler", late, "--queries", "100")
    assert "16.67 requests/s" in pairs["setting"]


def test_a_deployment_file_says_code_policy_and_batching(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(
        "deployments: [{name: digits, program: digits-mlp, code: {name: replication, k: 2, n: 4}, "
        "policy: {wait: all}, timeout_ms: 90}]"
    )
    slow = SLOW.replace("0.05", "0.5")
    seen = told("--config", str(file), "--queries", "200", "--straggler", slow, "--rate", "20")
    assert "Replication(k=2, n=4)" in seen["setting"]
    assert seen["max_ms"] == pytest.approx(90.0)
    assert seen["missing"] > 0.0


def test_stragglers_and_failures_of_some_workers() -> None:
    dead = '{"failure": {"kind": "drop", "probability": 1.0}}'
    code = ("--code", "uncoded", "--k", "4", "--rows", "4")
    flags = (*code, "--workers", "4", "--queries", "400", "--rate", "20")
    one = told(*flags, "--faults", dead, "--straggling", "1")
    assert one["missing"] == pytest.approx(0.25)
    assert told(*flags, "--faults", dead)["missing"] == 1.0
    assert told(*flags)["missing"] == 0.0


def test_stragglers_that_move() -> None:
    slow = '{"law": "constant", "value_ms": 100}'
    flags = ("--code", "uncoded", "--k", "1", "--workers", "9", "--queries", "1000", "--rate", "2",
             "--straggler", slow, "--straggling", "3", "--spread", "random", "--wait", "all",
             "--max-sends", "1")  # fmt: skip
    for moving in ("200ms", "10s"):
        seen = told(*flags, "--moving", moving)
        assert seen["mean_ms"] == pytest.approx(20 + 100 / 3, rel=0.15)


def test_a_student_takes_less_than_the_model() -> None:
    flags = ("--code", "backup", "--k", "2", "--n", "3", "--rows", "2", "--wait", "all",
             "--workers", "any", "--rate", "1", "--queries", "1000")  # fmt: skip
    assert told(*flags)["worker_ms_per_query"] == pytest.approx(30.0, rel=0.03)
    assert told(*flags, "--work", "student=0.5")["worker_ms_per_query"] == pytest.approx(
        25.0, rel=0.03
    )
    assert told(*flags, "--work", "stem=0.1")["master_ms_per_query"] > 0.0


def test_recorded_arrivals(tmp_path: Path) -> None:
    trace = tmp_path / "arrivals"
    trace.write_text("# of a Monday\n0.1\n0.2\n\n0.4\n")  # as `python -m bench load` takes it
    assert "recorded" in told("--trace", str(trace), "--queries", "100")["setting"]
    trace.write_text("0.1\nsoon\n")
    result = runner.invoke(app, ["simulate", "--trace", str(trace)])
    assert "arrivals:2: must be a number of seconds" in str(result.exception)


REFUSED = {
    ("--service", "soon"): "20ms",
    ("--service", '{"law": "bursts"}'): "slow_ms",
    ("--straggler", '{"law": "nosuch"}'): "accepted: constant",
    ("--straggler", SLOW, "--faults", "{}"): "goes without --faults",
    ("--rate", "3", "--load", "0.5"): "goes without --rate",
    ("--rate", "-1"): "above 0",
    ("--load", "0.5", "--workers", "any"): "a number of --workers",
    ("--load", "0.5", "--service", "0ms"): "take some time",
    ("--workers", "0"): "1 or more, or any",
    ("--straggling", "7"): "at most --workers 6",
    ("--moving", "1s"): "needs --straggler",
    ("--straggler", SLOW, "--straggling", "2", "--moving", "0s"): "a duration above 0",
    ("--method", "magic"): "auto, events",
    ("--method", "independent"): "queues",
    ("--work", "student=0.5"): "of the roles base, stem",
    ("--work", "base"): "NAME=VALUE",
    ("--work", "base=fast"): "with a number",
    ("--spread", "evenly"): "least loaded",
    ("--recovery-threshold", "2"): 'k = 4 .. n = 6, or "any"',
    ("--hedge", "soon"): "policy.hedge",
    ("--code", "nosuch"): "registered code",
    ("--n", "3"): "at least k = 4",
    ("--config", "no-such-file.yaml"): "cannot be read",
}


@pytest.mark.parametrize("flags", REFUSED, ids=" ".join)
def test_what_cannot_be_simulated_is_refused(flags: tuple[str, ...]) -> None:
    result = runner.invoke(app, ["simulate", "--queries", "10", *flags])
    assert result.exit_code != 0
    said = " ".join((result.output + str(result.exception or "")).replace("│", "").split())
    assert REFUSED[flags] in said
