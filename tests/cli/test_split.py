"""Split Lagrange networks by `kofn up`: two designs, any number of slots, dials a request."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.test_trained import digits_past_a_straggler
from typer.testing import CliRunner

import kofn
from kofn.cli import app
from models import data
from models.store import Store
from support.commands import Up, start

runner = CliRunner()

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

SPLIT = ("--model", "digits-mlp", "--code", "split-lagrange", "--workers", "4")
NAME = "digits-mlp.split-lagrange-k2"


def asked(up: Up, *flags: str) -> dict[str, Any]:
    done = runner.invoke(app, ["infer", "digits", *up.master, "--json", *flags])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def deployment(design: str, n: int) -> dict[str, Any]:
    return {
        "name": "digits-mlp",
        "program": "digits-mlp",
        "code": {"name": "split-lagrange", "k": 2, "n": n, "checkpoint": NAME},
        "design": design,
    }


def test_both_designs_and_every_number_of_slots_by_the_same_weights(
    trained_store: Store, tmp_path: Path
) -> None:
    """Without a restart: who mixes and how many slots there are change between batches."""
    images = data.load("digits", "test").images[:64].numpy()
    up = start(trained_store.root, tmp_path / "log", *SPLIT)
    try:
        with kofn.Client(up.ready["address"]) as client:

            def answers(design: str, n: int) -> kofn.Answers:
                client.deploy(deployment(design, n))
                return client.infer("digits-mlp", images, wait="all", timeout_s=20)

            whole = {(d, n): answers(d, n) for d in ("master", "worker") for n in (3, 4)}
            for n in (3, 4):
                here, there = whole["master", n], whole["worker", n]
                np.testing.assert_allclose(here.outputs, there.outputs, atol=1e-5)
                assert here.n == there.n == n
                assert (here.source == kofn.Source.DECODED).all()
                assert 0 < here.expected_error.max() < 0.5
    finally:
        assert up.end() == 0


def test_a_request_turns_the_dials(trained_store: Store, tmp_path: Path) -> None:
    up = start(trained_store.root, tmp_path / "log", *SPLIT, "--wait", "first")
    try:
        few = asked(up, "--recovery-threshold", "any", "--gain-limit", "1000", "--count", "40")
        straggling = digits_past_a_straggler(up)
        refused = runner.invoke(app, ["infer", "digits", *up.master, "--recovery-threshold", "1"])
        unknown = runner.invoke(app, ["infer", "digits", *up.master, "--recovery-threshold", "no"])
        images = data.load("digits", "test").images[:2].numpy()
        client = kofn.Client(up.ready["address"])
        with client, pytest.raises(kofn.InvalidArgument) as bad:
            client.infer("digits-mlp", images, parameters={"gain_limit": -1})
    finally:
        assert up.end() == 0
    assert few["missing"] == 0
    errors = [answer["expected_error"] for answer in few["answers"]]
    assert max(errors) > 0.3  # one responder says next to nothing of the other answer
    assert straggling["missing"] == 0
    assert straggling["accuracy"] > 0.75
    assert refused.exit_code != 0
    assert "must be in k = 2 .. n = 4" in str(refused.exception)
    assert "a whole number" in str(unknown.exception)
    assert "gain_limit" in str(bad.value)


def test_a_late_slot_is_hedged_at_a_fresh_angle(trained_store: Store, tmp_path: Path) -> None:
    """Four slots to four workers, one of which is late; four more angles stand by."""
    flags = (*SPLIT, "--wait", "first", "--recovery-threshold", "4", "--hedge", "50ms")
    up = start(trained_store.root, tmp_path / "log", *flags)
    try:
        found = digits_past_a_straggler(up)
        with kofn.Client(up.ready["address"]) as client:
            (seen,) = client.status().deployments
            images = data.load("digits", "test").images[:16].numpy()
            answers = client.infer("digits-mlp", images)
    finally:
        assert up.end() == 0
    assert found["missing"] == 0
    assert found["request p50 ms"] < 1000  # the late one takes three seconds
    assert seen.n == 8
    assert seen.tasks_hedged > 0
    assert any(slot >= 4 for slots in answers.responders for slot in slots)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"code": {"name": "split-lagrange", "k": 3, "n": 4, "checkpoint": NAME}}, "code.k must"),
        ({"policy": {"recovery_threshold": 1}}, "recovery_threshold must be in k = 2 .. n = 4"),
        ({"policy": {"recovery_threshold": 9}}, "recovery_threshold must be in k = 2 .. n = 4"),
        ({"design": "both"}, "design"),
        ({"code": {"name": "parity", "k": 2, "n": 4}, "design": "worker"}, "design must be"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    trained_store: Store, change: dict[str, Any], says: str
) -> None:
    from kofn.settings import SettingsError, parse_yaml
    from kofn.wire.errors import KofnError
    from master.binding import bind
    from master.config import DeploymentConfig

    text = json.dumps({**deployment("master", 4), **change})
    with pytest.raises((KofnError, SettingsError), match=says):
        bind(parse_yaml(text, DeploymentConfig, source="test"), trained_store)
