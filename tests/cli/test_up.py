"""A cluster by `kofn up`, and what the other commands do with it."""

import json
import signal
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import psutil
import pytest
from cli.conftest import WORKERS
from PIL import Image
from typer.testing import CliRunner

from kofn.cli import app
from models import data
from support.commands import PATIENCE_S, Up, kofn, start

runner = CliRunner()

pytestmark = pytest.mark.timeout(120)


def told(*arguments: str) -> Any:
    """What a command prints as JSON."""
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_ready_file_names_every_process(up: Up) -> None:
    """Addresses and process ids of the master and the workers, all alive."""
    assert [worker["name"] for worker in up.ready["workers"]] == [
        f"worker-{i}" for i in range(WORKERS)
    ]
    for service in (up.ready["master"], *up.ready["workers"]):
        assert psutil.pid_exists(service["pid"])
        assert not service["address"].endswith(":0")
    assert up.ready["pid"] == up.process.pid


def test_status_tells_workers_and_deployments(up: Up) -> None:
    """As JSON and as tables."""
    status = told("status", *up.master)
    assert status["ready"]
    assert {worker["state"] for worker in status["workers"]} == {"up"}
    (deployment,) = status["deployments"]
    assert (deployment["name"], deployment["k"], deployment["n"]) == ("digits", 2, 3)
    assert deployment["code"] == "Parity(k=2, n=3, weights='average', trained=False), calibrated"
    table = runner.invoke(app, ["status", *up.master], env={"COLUMNS": "200"})
    for word in ("worker-0", "worker-2", "digits", "127.0.0.1", "Parity, calibrated"):
        assert word in table.stdout


def test_infer_a_data_set(up: Up) -> None:
    """The held-out digits, with their accuracy."""
    found = told("infer", "digits", *up.master, "--wait", "all")
    assert found["direct"] == 359
    assert found["accuracy"] > 0.95
    table = runner.invoke(app, ["infer", "digits", "--count", "5", *up.master])
    assert "test 4" in table.stdout


def test_infer_arrays_and_pictures(up: Up, tmp_path: Path) -> None:
    """The same image as .npy and as PNG gets the same class; outputs can be kept."""
    test = data.load("digits", "test")
    image, label = test.images[:1].numpy(), int(test.labels[0])
    np.save(tmp_path / "image.npy", image)
    Image.fromarray((image[0, 0] * 255).round().astype(np.uint8)).save(tmp_path / "image.png")
    for name in ("image.npy", "image.png"):
        out = tmp_path / f"{name}.out.npy"
        found = told("infer", str(tmp_path / name), *up.master, "--out", str(out))
        assert found["answers"][0]["class"] == str(label)
        assert np.load(out).argmax(1).tolist() == [label]


def test_wrong_images_are_refused(up: Up, tmp_path: Path) -> None:
    """In words, and the cluster still serves."""
    np.save(tmp_path / "wrong.npy", np.zeros((1, 3, 5, 5), np.float32))
    done = runner.invoke(app, ["infer", str(tmp_path / "wrong.npy"), *up.master])
    assert done.exit_code != 0
    assert "1, 8, 8" in str(done.exception)
    missing = runner.invoke(app, ["infer", "digits", "--model", "nope", *up.master])
    assert "served: digits" in str(missing.exception)
    assert told("infer", "digits", "--count", "4", *up.master)["missing"] == 0


def test_faults_are_set_shown_and_cleared(up: Up) -> None:
    """Of one worker, then of none."""
    law = '{"delay": {"law": "constant", "value_ms": 1}}'
    told("faults", "set", law, "-w", "worker-1", *up.master)
    shown = {row["worker"]: row["faults"] for row in told("faults", "show", *up.master)}
    assert shown["worker-1"]["delay"]["value_ms"] == 1
    assert "delay" not in shown["worker-0"]
    told("faults", "clear", *up.master)
    shown = {row["worker"]: row["faults"] for row in told("faults", "show", *up.master)}
    assert "delay" not in shown["worker-1"]
    bad = runner.invoke(app, ["faults", "set", "{delay: {law: nope}}", *up.master])
    assert "delay" in str(bad.exception)


def test_a_scenario_is_carried_out(up: Up, tmp_path: Path) -> None:
    """Step by step; at the end everything is cleared, or kept when asked for."""
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "name: short\nsteps:\n"
        "  - {at_s: 0, workers: all, faults: {delay: {law: constant, value_ms: 1}}}\n"
        "  - {at_s: 0.1, workers: [worker-2], faults: {delay: {law: constant, value_ms: 2}}}\n"
    )
    seen = kofn("faults", "run", str(file), "--keep", *up.master)
    assert "worker-0, worker-1, worker-2" in seen
    shown = [row["faults"]["delay"]["value_ms"] for row in told("faults", "show", *up.master)]
    assert shown == [1, 1, 2]
    assert "cleared" in kofn("faults", "run", str(file), *up.master)
    assert all("delay" not in row["faults"] for row in told("faults", "show", *up.master))
    assert "one-straggler" in kofn("faults", "run", "nope", *up.master, status=2)


def test_a_taken_port_is_told(up: Up, digits_store: Any) -> None:
    """A second cluster on the same port ends with what is wrong, and leaves nothing."""
    port = up.ready["address"].rpartition(":")[2]
    flags = ("--workers", "1", "--code", "uncoded", "--metrics-port", "0")
    said = kofn("up", *flags, "--port", port, "--store", str(digits_store.root), status=1)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said
    assert "--port 0" in said


def test_chaos_acts_on_processes(up: Up) -> None:
    """Found by the master; what needs a container is refused."""
    process = psutil.Process(up.ready["workers"][0]["pid"])
    try:
        assert "worker-0: pause" in kofn("chaos", "pause", "worker-0", *up.master)
        end = monotonic() + PATIENCE_S
        while process.status() != psutil.STATUS_STOPPED:  # once it is next scheduled
            assert monotonic() < end
    finally:
        assert "worker-0: unpause" in kofn("chaos", "unpause", "worker-0", *up.master)
    assert told("infer", "digits", "--count", "4", *up.master)["missing"] == 0
    said = kofn("chaos", "disconnect", "worker-0", *up.master, status=1)
    assert "needs workers in containers" in said


def test_a_missing_engine_is_told(digits_store: Any) -> None:
    """Before anything starts, with what to do."""
    flags = ("--backend", "docker", "--port", "0", "--metrics-port", "0")
    nowhere = {"DOCKER_HOST": "unix:///no/such/socket"}
    store = ("--store", str(digits_store.root))
    said = kofn("up", *flags, *store, status=1, environment=nowhere)
    assert "No Docker engine answers: start it" in said
    assert "DOCKER_HOST" in kofn("down", status=1, environment=nowhere)


def test_nobody_there_is_told() -> None:
    """Soon, and by its address."""
    done = runner.invoke(app, ["status", "--master", "127.0.0.1:1", "--timeout-s", "1"])
    assert done.exit_code != 0
    assert "127.0.0.1:1" in str(done.exception)


def test_ctrl_c_ends_it_cleanly(digits_store: Any, tmp_path: Path) -> None:
    """Exit 0, no process left; a deployment file says what is served."""
    file = tmp_path / "deployment.yaml"
    file.write_text(
        "deployments:\n"
        "  - name: mine\n    program: digits-mlp\n    code: {name: replication, k: 1, n: 2}\n"
    )
    running = start(digits_store.root, tmp_path / "log", "--workers", "2", "--config", str(file))
    assert told("status", *running.master)["deployments"][0]["name"] == "mine"
    assert running.end(signal.SIGINT) == 0, (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--code", "parrity"), "parity"),
        (("--k", "7", "--n", "6"), "n"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--wait", "later"), "soft"),
        (("--faults", "{delay: {law: nope}}"), "delay"),
        (("--backend", "static", "--targets", "nowhere"), "HOST:PORT"),
    ],
)
def test_wrong_flags_are_refused_before_anything_starts(
    flags: tuple[str, ...], words: str, digits_store: Any
) -> None:
    """What is wrong and what is accepted."""
    done = runner.invoke(app, ["up", *flags, "--store", str(digits_store.root)])
    assert done.exit_code != 0
    assert words in str(done.exception)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--backend", "swarm"), "'local', 'docker', 'static', 'ray'"),
        (("--backend", "static"), "goes with --backend static"),
        (("--targets", "127.0.0.1:1"), "goes with --backend static"),
        (("--image", "kofn:cuda"), "goes with --backend docker"),
        (("--backend", "ray", "--tls", "auto"), "goes with --backend local or docker"),
        (("--backend", "static", "--targets", "a:1", "--faults", "{}"), "kofn faults set"),
    ],
)
def test_flags_of_another_backend_are_refused(flags: tuple[str, ...], words: str) -> None:
    """As wrong arguments are."""
    done = runner.invoke(app, ["up", *flags], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert words in done.output
