"""The health check of containers, as a process of its own, against a real health service."""

import asyncio
import sys

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kofn.wire import channels

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def probed(*arguments: str) -> tuple[int | None, str]:
    """Exit status and standard error of `python -m kofn.probe`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kofn.probe", *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("said", "status", "complaint"), [(SERVING, 0, ""), (NOT_SERVING, 1, "it does not serve")]
)
async def test_a_service_is_as_healthy_as_it_says(said: int, status: int, complaint: str) -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("", said)
    await servicer.set("alive", SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = channels.listen(server, "127.0.0.1:0")
    await server.start()
    try:
        assert await probed(f"127.0.0.1:{port}") == (
            status,
            f"127.0.0.1:{port}: {complaint}\n" if complaint else "",
        )
        assert await probed(f"127.0.0.1:{port}", "alive") == (0, "")
        status, told = await probed(f"127.0.0.1:{port}", "elsewhere")
        assert (status, "NOT_FOUND" in told) == (1, True)
    finally:
        await server.stop(None)


async def test_nobody_there_is_not_healthy() -> None:
    status, said = await probed("127.0.0.1:1")
    assert status == 1
    assert "UNAVAILABLE" in said


async def test_a_wrong_argument_is_told_from_an_unhealthy_service() -> None:
    assert await probed() == (2, "usage: python -m kofn.probe HOST:PORT [SERVICE]\n")
