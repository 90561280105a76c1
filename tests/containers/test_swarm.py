"""The compose file as a Swarm stack, by the command that docs/containers.md gives.

The engine's own Swarm is used where it manages one. Else one is made, on loopback, and left again.
"""

import asyncio
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import kofn
from support.compose import ROOT, docker, free_ports
from support.querying import known, load, more, workers_up

WORKERS, MORE = 6, 8
PATIENCE_S = 300.0
STACK = "com.docker.stack.namespace"
DEPLOYING = re.compile(r"^docker compose -f .*\n.*docker stack deploy -c - kofn$", re.MULTILINE)

pytestmark = pytest.mark.timeout(1200)


class Stack:
    """One stack, of a name of its own.

    Attributes:
        name: of the stack.
        address: where its master is published.
    """

    def __init__(self, checkout: Path, images: Mapping[str, str]) -> None:
        self.name = f"kofn-test-{uuid.uuid4().hex[:8]}"
        port, metrics_port = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._checkout = checkout
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("KOFN_", "COMPOSE_"))}
        ports = {"KOFN_PORT": str(port), "KOFN_METRICS_PORT": str(metrics_port)}
        self._environment = {**kept, **images, **ports, "COMPOSE_PROJECT_NAME": self.name}

    def deploy(self) -> None:
        """As the document says, under this name."""
        (command,) = DEPLOYING.findall((ROOT / "docs" / "containers.md").read_text())
        command = f"set -o pipefail; {command.removesuffix('kofn')}{self.name}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=self._checkout, env=self._environment,
            capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def tasks(self, service: str) -> list[str]:
        """Ids of the containers of a service that run on this node."""
        label = f"label=com.docker.swarm.service.name={self.name}_{service}"
        return docker("ps", "-q", "--filter", label).split()

    def remove(self) -> None:
        """Nothing of it stays."""
        docker("stack", "rm", self.name)
        _until(lambda: not any(self.left(kind) for kind in ("container", "network")))
        for volume in self.left("volume"):
            docker("volume", "rm", volume)

    def left(self, kind: str) -> list[str]:
        """What of it the engine still has."""
        flags = ["--all"] if kind == "container" else []
        return docker(kind, "ls", *flags, "-q", "--filter", f"label={STACK}={self.name}").split()

    def told(self) -> str:
        """How its tasks do, for whoever must find out why it does not serve."""
        return docker("stack", "ps", "--no-trunc", self.name)


@pytest.fixture(scope="module")
def swarm(images: Mapping[str, str]) -> Iterator[None]:
    """An engine that manages a Swarm; one that was in none is in none afterwards."""
    said = docker("info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}")
    if said.split() == ["active", "true"]:
        yield
        return
    if not said.startswith("inactive"):
        pytest.skip(f"the engine is in a Swarm that it does not manage: {said}")
    networks = set(_networks())
    (port,) = free_ports(1)
    docker(
        "swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", f"127.0.0.1:{port}"
    )  # fmt: skip
    try:
        yield
    finally:
        docker("swarm", "leave", "--force")
        for network in set(_networks()) - networks - {"ingress"}:
            docker("network", "rm", network)  # the bridge that a Swarm makes for itself


@pytest.fixture
def stack(swarm: None, checkout: Path, images: Mapping[str, str]) -> Iterator[Stack]:
    """Deployed; its master answers."""
    made = Stack(checkout, images)
    try:
        made.deploy()
        yield made
    finally:
        made.remove()
    assert not any(made.left(kind) for kind in ("container", "network", "volume"))


async def test_a_stack_serves_heals_and_grows_while_queries_run(
    stack: Stack, images_and_truth: tuple[np.ndarray, np.ndarray]
) -> None:
    """Every task has an address of its own; a killed one is replaced, and no query is lost."""
    images, truth = images_and_truth
    async with kofn.AsyncClient(stack.address) as client:
        await _serves(stack, client)
        await workers_up(client, WORKERS)
        answers = await client.infer("digits", images, timeout_s=PATIENCE_S, wait="all")
        np.testing.assert_allclose(answers.outputs, truth, rtol=1e-4, atol=1e-4)
        first = {worker.address for worker in (await client.status()).workers}
        assert len(first) == WORKERS
        async with load(client, images, truth) as answered:
            await asyncio.to_thread(docker, "kill", stack.tasks("worker")[0])
            scale = ("--detach", f"{stack.name}_worker={MORE}")
            await asyncio.to_thread(docker, "service", "scale", *scale)
            await workers_up(client, MORE)
            await more(answered)
        await known(client, MORE)
        workers = (await client.status()).workers
        assert len({worker.address for worker in workers} - first) >= MORE - WORKERS
        (told,) = (await client.status()).deployments
        assert told.failed_rows == 0


async def _serves(stack: Stack, client: kofn.AsyncClient) -> None:
    """Return once the master answers that it is ready."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await client.is_ready(timeout_s=5.0):  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.5)
    except TimeoutError:
        pytest.fail(stack.told())


def _networks() -> list[str]:
    return docker("network", "ls", "--format", "{{.Name}}").split()


def _until(condition: Callable[[], bool]) -> None:
    """Look again and again; each look is a command that takes its time."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not happen"
