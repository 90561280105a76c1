"""What is in the images, and what a build, a start and a compose file refuse."""

import itertools
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.compose import ROOT, Project, docker, engine_missing, inspected, project

MOST_BYTES = 1.5e9  # of a worker's image
OVERRIDES = (
    "docker-compose.gpu.yml",
    "deploy/compose.cpu-limit.yml",
    "deploy/compose.monitoring.yml",
    "deploy/compose.tls.yml",
    "deploy/compose.swarm.yml",
)
COMBINATIONS = [
    chosen for size in range(len(OVERRIDES) + 1)
    for chosen in itertools.combinations(OVERRIDES, size)
]  # fmt: skip

pytestmark = pytest.mark.timeout(900)


def test_a_worker_s_image_holds_a_worker_s_share(images: Mapping[str, str]) -> None:
    """It can serve, it is small, and what others import is not in it."""
    worker = images["KOFN_WORKER_IMAGE"]
    assert inspected(worker)["Size"] <= MOST_BYTES
    mine = {"worker.server", "models.programs", "torch"}
    others = {"master", "codes", "training", "bench", "sklearn", "matplotlib", "tensorboard", "pip"}
    looked = f"import importlib.util as u; print(*(n for n in {mine | others} if u.find_spec(n)))"
    assert set(docker("run", "--rm", worker, "python", "-c", looked).split()) == mine
    docker("run", "--rm", worker, "python", "-c", "import worker.command, worker.server")


def test_both_images_run_as_another_user_than_root(images: Mapping[str, str]) -> None:
    """By default, whoever starts them."""
    for image in images.values():
        assert inspected(image)["Config"]["User"] == "kofn"
        assert docker("run", "--rm", image, "id", "-u") == "10001\n"


def test_the_layer_of_packages_is_not_built_again_for_a_change_of_source(
    checkout: Path, images: Mapping[str, str]
) -> None:
    """Dependencies come before the source, in both images, so that a change takes seconds."""
    changed = checkout / "worker" / "__init__.py"
    before = changed.read_text()
    changed.write_text(f"{before}\nCHANGED = True\n")
    try:
        done = subprocess.run(
            ["docker", "build", "--progress", "plain", "."],
            cwd=checkout, capture_output=True, text=True, timeout=600,
            env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=True,
        )  # fmt: skip
    finally:
        changed.write_text(before)
    steps = [line.split() for line in done.stderr.splitlines()]
    number = {step[0] for step in steps if "/opt/kofn/bin/python" in step and "install" in step}
    assert len(number) == 4  # torch, a worker's packages, traces, the rest
    assert all([n, "CACHED"] in steps for n in number)


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ("cuda", "but pip chose a build for CPUs: give the address of PyTorch's index for your"),
        ("rocm", "TORCH must be cpu or cuda, not 'rocm'"),
    ],
)
def test_a_torch_that_was_not_asked_for_ends_the_build(
    checkout: Path, images: Mapping[str, str], wish: str, complaint: str
) -> None:
    """Before what it depends on is fetched; the images' own is for CPUs, from the same index."""
    done = subprocess.run(
        ["docker", "build", "--target", "packages", "--build-arg", f"TORCH={wish}", "."],
        cwd=checkout, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
    )  # fmt: skip
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Collecting numpy" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("KOFN_WORKER_THREADS", "0", "threads: must be greater than or equal to 1, not"),
        ("KOFN_WORKER_PRECISION", "float8", "precision: must not be 'float8'; accepted: 'float32'"),
        ("KOFN_MASTER_WORKERS", "worker", "A worker target must be HOST:PORT"),
    ],
)
def test_a_variable_out_of_range_is_refused_before_anything_starts(
    checkout: Path, images: Mapping[str, str], variable: str, value: str, complaint: str
) -> None:
    """At once and once: the services of the cluster are never started, and so never again."""
    with project(checkout, {**images, variable: value}) as made:
        done = made.compose("up", "--detach", check=False)
        assert done.returncode != 0
        assert "settings" in done.stderr
        assert complaint in made.compose("logs", "--no-color", "settings").stdout
        assert made.containers("worker") == made.containers("master") == []


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("KOFN_PORT", "80000", "80000"),
        ("KOFN_WORKERS", "many", "replicas"),
    ],
)
def test_a_variable_that_compose_itself_checks_is_refused_by_it(
    checkout: Path, images: Mapping[str, str], variable: str, value: str, complaint: str
) -> None:
    """Ports and numbers of containers."""
    with project(checkout, {**images, variable: value}) as made:
        done = made.compose("up", "--no-build", check=False)
        assert done.returncode != 0
        assert complaint in done.stderr
        assert made.containers("master") == []


def test_no_engine_is_said_at_once(checkout: Path) -> None:
    """An address where nobody listens."""
    nowhere = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    done = Project(checkout, nowhere).compose("up", check=False)
    assert done.returncode != 0
    assert "Cannot connect to the Docker daemon at unix:///nonexistent/docker.sock" in done.stderr


@pytest.mark.skipif(bool(engine_missing()), reason="no container engine")
@pytest.mark.parametrize("overrides", COMBINATIONS, ids=" ".join)
def test_every_combination_of_overrides_is_a_compose_file(overrides: tuple[str, ...]) -> None:
    """And each does what it says."""
    made = Project(ROOT, {"KOFN_WORKER_CPUS": "0.25"}, ("docker-compose.yml", *overrides))
    told = json.loads(made.compose("config", "--format", "json").stdout)["services"]
    worker = told["worker"]
    resources = worker["deploy"].get("resources", {})
    assert ("cuda" in str(worker["environment"])) == (OVERRIDES[0] in overrides)
    assert ("devices" in resources.get("reservations", {})) == (OVERRIDES[0] in overrides)
    assert (resources.get("limits", {}).get("cpus") == 0.25) == (OVERRIDES[1] in overrides)
    assert ({"prometheus", "grafana"} <= told.keys()) == (OVERRIDES[2] in overrides)
    assert ("KOFN_WORKER_TLS" in worker["environment"]) == (OVERRIDES[3] in overrides)
    assert ("depends_on" not in worker) == (OVERRIDES[4] in overrides)
    assert {"worker", "master"} <= told.keys()
