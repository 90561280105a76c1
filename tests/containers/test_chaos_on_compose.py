"""Chaos on the containers of a Compose project, whatever runs in them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import kofn
from kofn.chaos import Chaos, find
from kofn.launch.containers import IMAGE
from kofn.launch.engine import connect

PROJECT = "kofn-chaos-test"
FILE = f"""
services:
  worker:
    image: {IMAGE}
    command: [sleep, "600"]
    init: true
    scale: 2
    cpus: 0.5
    labels: {{kofn.role: worker}}
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def chaos(tmp_path: Path) -> AsyncIterator[Chaos]:
    """On a project of two, found by its name; no master is asked."""
    try:
        client = connect()
    except kofn.FailedPrecondition as error:
        pytest.skip(str(error))
    has_image = bool(client.images.list(IMAGE))
    client.close()
    if not has_image:
        pytest.skip(f"there is no image {IMAGE}: docker build -t {IMAGE} .")
    file = tmp_path / "compose.yaml"
    file.write_text(FILE)
    await compose(file, "up", "--detach", "--quiet-pull")
    try:
        async with kofn.AsyncClient("127.0.0.1:1") as nobody:
            found = await find(nobody, PROJECT)
            yield found
            await found.close()
    finally:
        await compose(file, "down", "--timeout", "1")


async def compose(file: Path, *arguments: str) -> None:
    """Run `docker compose` on the project."""
    command = ("docker", "compose", "--project-name", PROJECT, "--file", str(file))
    running = await asyncio.create_subprocess_exec(
        *command, *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await running.communicate()
    assert running.returncode == 0, errors.decode()


async def test_every_action_and_its_remedy(chaos: Chaos) -> None:
    """By the names that Compose gives, and by the host's name, which masters are told."""
    client: Any = await asyncio.to_thread(connect)
    container = client.containers.get(f"{PROJECT}-worker-2")
    own_name = container.attrs["Config"]["Hostname"]
    assert own_name in await chaos.workers()
    assert len(await chaos.workers()) == 2

    def status() -> str:
        container.reload()
        return str(container.status)

    for name in (own_name, "worker-2", f"{PROJECT}-worker-2", container.short_id):
        await chaos.act(name, "pause")
        assert status() == "paused"
        await chaos.act(name, "unpause")
        assert status() == "running"
    await chaos.act("worker-2", "disconnect")
    container.reload()
    assert container.attrs["NetworkSettings"]["Networks"] == {}
    await chaos.act("worker-2", "limit-cpu", 0.1)
    await chaos.act("worker-2", "kill")
    assert status() == "exited"
    done = await chaos.undo()
    assert [remedy for _, remedy in done] == ["restart", "unlimit-cpu", "connect"]
    assert status() == "running"
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    assert "worker" in network["Aliases"]  # the name that stands for all of them
    assert container.attrs["HostConfig"]["NanoCpus"] == 10**9 // 2, "its own limit is back"
    with pytest.raises(kofn.NotFound, match=f"{PROJECT} has no worker 'worker-3'"):
        await chaos.act("worker-3", "kill")
    client.close()
