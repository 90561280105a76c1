"""Workers in this process that hold matrices."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from worker.config import WorkerConfig
from worker.faults_text import parse_faults
from worker.server import WorkerServer

Start = Callable[..., Awaitable[list[WorkerServer]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts so many workers with these settings."""
    async with AsyncExitStack() as stack:

        async def started(count: int, **settings: Any) -> list[WorkerServer]:
            servers = []
            for number in range(count):
                told = {"name": f"w{number}", "cache": tmp_path, "drain_s": 0, "port": 0}
                config = WorkerConfig.model_validate({**told, **settings})
                servers.append(await stack.enter_async_context(WorkerServer(config)))
            return servers

        yield started


@pytest.fixture
def inject() -> Callable[..., None]:
    """Sets the faults of some workers."""

    def injected(servers: list[WorkerServer], text: str) -> None:
        for server in servers:
            server.dispatcher.set_faults(parse_faults(text))

    return injected
