"""The monitoring override: its Prometheus finds the masters by name and has what the panels ask.

Prometheus is this machine's program in an image like the official one, which needs no registry.
Grafana is not started.
"""

import asyncio
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import kofn
from support.compose import docker, free_ports, project
from support.prometheus import (
    PROGRAM,
    SERVED,
    SLOW_AT_TIMES,
    Prometheus,
    until_all_told,
)  # fmt: skip

FILES = ("docker-compose.yml", "deploy/compose.monitoring.yml")
WORKERS = 3
READY_S = 120.0
RECIPE = """
FROM python:3.11-slim-bookworm
COPY prometheus /bin/prometheus
WORKDIR /prometheus
RUN chown nobody:nogroup /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
"""

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="there is no program `prometheus` here"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def prometheus_image(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With the user, folders and command of the official one."""
    assert PROGRAM is not None
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy2(PROGRAM, folder / "prometheus")
    (folder / "Dockerfile").write_text(RECIPE)
    name = f"kofn-test-prometheus:{uuid.uuid4().hex[:8]}"
    docker("build", "--quiet", "--tag", name, str(folder))
    yield name
    docker("image", "rm", name)


async def test_every_panel_has_something_to_show(
    checkout: Path,
    images: Mapping[str, str],
    prometheus_image: str,
    images_and_truth: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    """By the configuration that is mounted, over the cluster's network, at the published port."""
    deployment = tmp_path / "deployment.yaml"
    deployment.write_text(json.dumps({"deployments": [SERVED]}))
    (port,) = free_ports(1)
    variables = {
        "KOFN_WORKERS": str(WORKERS),
        "KOFN_DEPLOYMENT": str(deployment),
        "KOFN_PROMETHEUS_IMAGE": prometheus_image,
        "KOFN_PROMETHEUS_PORT": str(port),
    }
    rows = images_and_truth[0][:8]
    with project(checkout, {**images, **variables}, FILES) as made:
        await asyncio.to_thread(
            made.compose,
            "up",
            "--detach",
            "--wait",
            "--wait-timeout",
            "600",
            "master",
            "prometheus",
        )
        seen = Prometheus(f"127.0.0.1:{port}")
        async with asyncio.timeout(READY_S):
            while not await asyncio.to_thread(seen.is_ready):  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.5)
        async with kofn.AsyncClient(made.address) as client:
            await client.set_faults(SLOW_AT_TIMES)
            await until_all_told(seen, client, rows)
        (target,) = seen.targets()
        assert target["health"] == "up"
        assert target["labels"]["job"] == "kofn"
