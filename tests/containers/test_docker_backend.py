"""`kofn up --backend docker`: containers that serve, are harmed and healed, and never stay."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kofn as api
from kofn.launch import DockerWorkers
from kofn.launch.containers import IMAGE
from kofn.launch.engine import CLUSTER, connect
from models import data
from support.commands import Up, kofn, start
from support.launching import check_launcher

WORKERS = 3
PATIENCE_S = 120.0
FLAGS = ("--backend", "docker", "--workers", str(WORKERS), "--name", "digits", "--k", "2")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """The engine of this machine, with our image."""
    try:
        client = connect()
    except api.FailedPrecondition as error:
        pytest.skip(str(error))
    if not client.images.list(IMAGE):
        pytest.skip(f"there is no image {IMAGE}: docker build -t {IMAGE} .")
    yield client
    client.close()


@pytest.fixture(scope="module")
def up(engine: Any, digits_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One cluster for the tests of this file; at its end the engine is as before."""
    folder = tmp_path_factory.mktemp("docker")
    running = start(digits_store.root, folder / "log", *FLAGS, "--folder", str(folder / "run"))
    cluster = running.ready["cluster"]
    yield running
    assert running.end() == 0, (folder / "log").read_text()
    assert left(engine, cluster) == []
    for number in range(WORKERS):
        assert "serving" in (folder / "run" / f"worker-{number}.log").read_text()


def test_it_serves_from_containers_of_its_own(engine: Any, up: Up) -> None:
    """Named, labelled, on one network; the master's address is as of any cluster."""
    cluster = up.ready["cluster"]
    found = engine.containers.list(filters={"label": f"{CLUSTER}={cluster}"})
    assert sorted(c.labels["kofn.worker"] for c in found) == [f"worker-{i}" for i in range(WORKERS)]
    assert {tuple(c.attrs["NetworkSettings"]["Networks"]) for c in found} == {(cluster,)}
    assert is_answered(up)


@pytest.mark.parametrize(("harm", "remedy"), [("pause", "unpause"), ("disconnect", "connect")])
def test_a_harmed_worker_is_missed_and_returns(up: Up, harm: str, remedy: str) -> None:
    """Answers go on without it; after the remedy it is used again, at its old address."""
    before = addresses(up)
    kofn("chaos", harm, "worker-1", *up.master)
    wait_for(up, "worker-1", is_up=False)
    assert is_answered(up)
    kofn("chaos", harm, "worker-1", *up.master)  # is so already
    kofn("chaos", remedy, "worker-1", *up.master)
    wait_for(up, "worker-1", is_up=True)
    assert addresses(up) == before
    assert is_answered(up)


def test_cpus_are_limited_and_given_back(engine: Any, up: Up) -> None:
    """As the engine tells it."""
    container = engine.containers.get(f"{up.ready['cluster']}-worker-2")
    kofn("chaos", "limit-cpu", "worker-2", "--cpus", "0.25", *up.master)
    container.reload()
    assert container.attrs["HostConfig"]["NanoCpus"] == 250_000_000
    kofn("chaos", "unlimit-cpu", "worker-2", *up.master)
    container.reload()
    assert container.attrs["HostConfig"]["NanoCpus"] == engine.info()["NCPU"] * 10**9


def test_a_scenario_drives_faults_and_containers(engine: Any, up: Up, tmp_path: Path) -> None:
    """On one timeline, told as it happens; what is still in force at the end is undone."""
    file = tmp_path / "both.yaml"
    file.write_text(
        "name: both\nsteps:\n"
        "  - {at_s: 0, faults: {delay: {law: constant, value_ms: 1}}}\n"
        "  - {at_s: 0.1, workers: [worker-0], action: {kind: pause}}\n"
        "  - {at_s: 0.2, workers: [worker-2], action: {kind: limit-cpu, cpus: 0.5}}\n"
    )
    said = kofn("faults", "run", str(file), *up.master)
    steps = ("value_ms", "worker-0: pause", "worker-2: limit-cpu 0.5", "worker-2: unlimit-cpu")
    places = [said.index(step) for step in (*steps, "worker-0: unpause", "cleared")]
    assert places == sorted(places)
    of_cluster = {"label": f"{CLUSTER}={up.ready['cluster']}"}
    assert {c.status for c in engine.containers.list(all=True, filters=of_cluster)} == {"running"}
    wait_for(up, "worker-0", is_up=True)
    with api.Client(up.ready["address"]) as client:
        assert all("delay" not in told.faults_json for told in client.get_faults().workers)


def test_unknown_names_are_told(engine: Any, up: Up) -> None:
    """With those that there are; also for clusters."""
    assert "it has: worker-0, worker-1" in kofn("chaos", "pause", "x", *up.master, status=1)
    told = kofn("chaos", "pause", "worker-0", "--cluster", "nope", status=1)
    assert "called 'nope'; there are: " in told
    assert up.ready["cluster"] in told
    assert "cpus" in kofn("chaos", "limit-cpu", "worker-0", *up.master, status=1)


def test_an_image_that_is_missing_is_told(engine: Any, digits_store: Any) -> None:
    """With the command that builds it."""
    flags = ("--image", "kofn:no-such-tag", "--port", "0", "--metrics-port", "0")
    said = kofn("up", *FLAGS, *flags, "--store", str(digits_store.root), status=1)
    assert "docker build -t kofn:no-such-tag ." in said


def test_an_engine_without_gpus_is_told(engine: Any, digits_store: Any) -> None:
    """With what to install; where there are GPUs the flag just works."""
    if "nvidia" in engine.info()["Runtimes"]:
        pytest.skip("this engine gives GPUs to containers")
    flags = ("--device", "cuda", "--port", "0", "--metrics-port", "0")
    said = kofn("up", *FLAGS, *flags, "--store", str(digits_store.root), status=1)
    assert "install the NVIDIA Container Toolkit" in said


def test_nothing_stays_when_the_launcher_is_killed(
    engine: Any, digits_store: Any, tmp_path: Path
) -> None:
    """By SIGKILL, which leaves it no time; containers and network are removed all the same."""
    running = start(
        digits_store.root, tmp_path / "log", *FLAGS[:2], "--workers", "1", "--code", "uncoded"
    )
    cluster = running.ready["cluster"]
    running.process.kill()
    running.process.communicate(timeout=PATIENCE_S)
    until(lambda: left(engine, cluster) == [])


async def test_it_keeps_the_launchers_contract(engine: Any, tmp_path: Path) -> None:
    """As every backend does."""
    launcher = DockerWorkers(2)
    await check_launcher(launcher, tmp_path)
    assert left(engine, launcher.cluster) == []


def test_down_removes_a_cluster(engine: Any) -> None:
    """One that nobody watches over any more, by its name and no other."""
    labels = {CLUSTER: "kofn-forgotten"}
    engine.networks.create("kofn-forgotten", labels=labels)
    engine.containers.create(IMAGE, "true", labels=labels, name="kofn-forgotten-0")
    assert "nothing to remove" in kofn("down", "kofn-other")
    assert "kofn-forgotten-0" in kofn("down", "kofn-forgotten")
    assert left(engine, "kofn-forgotten") == []


def left(engine: Any, cluster: str) -> list[str]:
    """Containers and networks of a cluster."""
    label = {"label": f"{CLUSTER}={cluster}"}
    containers = engine.containers.list(all=True, filters=label, ignore_removed=True)
    return [item.name for item in (*containers, *engine.networks.list(filters=label))]


def is_answered(up: Up) -> bool:
    """Whether a few digits all get an answer."""
    images = data.load("digits", "test").images.numpy()[:8]
    with api.Client(up.ready["address"]) as client:
        answers = client.infer("digits", images, timeout_s=20)
    return bool((answers.source != api.Source.MISSING).all())


def states(up: Up) -> dict[str, tuple[str, str]]:
    """State and address of each worker, as the master tells them."""
    with api.Client(up.ready["address"]) as client:
        return {worker.name: (worker.state, worker.address) for worker in client.status().workers}


def addresses(up: Up) -> dict[str, str]:
    """Of all workers."""
    return {name: address for name, (_, address) in states(up).items()}


def wait_for(up: Up, worker: str, *, is_up: bool) -> None:
    """Until the master sees it so."""
    until(lambda: (states(up)[worker][0] == "up") == is_up)


def until(condition: Any) -> None:
    """Look again and again; each look is a call that takes its time."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not happen"
