"""`python -m worker` as a process: ready file, drain, injected exit, errors of its command line."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

PATIENCE_S = 25.0


@asynccontextmanager
async def process(*flags: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker's process; killed at the end if it has not left."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", *flags),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def said(ended: asyncio.subprocess.Process) -> str:
    """What it wrote to standard error until its end."""
    async with asyncio.timeout(PATIENCE_S):
        return (await ended.communicate())[1].decode()


async def ready(worker: asyncio.subprocess.Process, path: Path) -> Any:
    """The ready file's contents, once the worker's log says that it is written."""
    assert worker.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        while json.loads(line := await worker.stderr.readline())["event"] != "ready":
            assert line
    return json.loads(await asyncio.to_thread(path.read_text))


async def test_a_worker_drains_at_sigterm(tmp_path: Path, doubled: Any, connect: Any) -> None:
    """It answers what it has in hand, says that it leaves, and exits with 0; its log is JSON."""
    config = tmp_path / "worker.yaml"
    config.write_text(f"name: from-file\nport: 1\ncache: {tmp_path}/cache\nthreads: 1\n")
    flags = ("--config", str(config), "--port", "0", "--ready-file", str(tmp_path / "ready"))
    async with process(*flags, KOFN_WORKER_NAME="from-environment") as worker:
        told = await ready(worker, tmp_path / "ready")
        assert told["pid"] == worker.pid
        master = connect(told["address"])
        await master.push(doubled.data, doubled.name)
        greeting = await master.open()
        assert (greeting.worker, greeting.process_id) == ("from-environment", worker.pid)
        await master.set_faults('{"delay": {"law": "constant", "value_ms": 300}}')
        await master.send(master.task(1), master.task(2, program="f" * 64))
        assert (await master.read()).result.id == 2  # so the first has arrived
        worker.send_signal(signal.SIGTERM)
        first, second = await master.read(), await master.read()
        assert first.HasField("draining")
        assert second.result.id == 1
        assert await master.ended() is grpc.StatusCode.OK
        lines = (await said(worker)).splitlines()
        assert worker.returncode == 0
        events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
        assert events == ["draining"]


async def test_an_injected_exit_is_an_exit(tmp_path: Path, doubled: Any, connect: Any) -> None:
    """The process is gone in the midst of the task; its stream breaks."""
    flags = ("--port", "0", "--cache", str(tmp_path), "--ready-file", str(tmp_path / "ready"))
    faults = '{"failure": {"kind": "exit", "probability": 1}}'
    async with process(*flags, "--faults", faults) as worker:
        master = connect((await ready(worker, tmp_path / "ready"))["address"])
        await master.push(doubled.data, doubled.name)
        await master.open()
        await master.send(master.task(1))
        assert await master.ended() is grpc.StatusCode.UNAVAILABLE
        await said(worker)
        assert worker.returncode == 70


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--faults", "{delay: {law: expo}}"), "must not be 'expo'; accepted: constant, expon"),
        (("--threads", "0"), "threads: "),
        (("--config", "/nowhere.yaml"), "/nowhere.yaml: cannot be read"),
        (("--host", "192.0.2.1", "--port", "9"), "cannot listen on 192.0.2.1:9"),
    ],
    ids=["faults", "threads", "file", "address"],
)
async def test_mistakes_are_told_in_a_line(
    tmp_path: Path, flags: tuple[str, ...], told: str
) -> None:
    """With exit status 2 and no traceback."""
    async with process("--cache", str(tmp_path), *flags) as worker:
        text = await said(worker)
        assert worker.returncode == 2
        assert told in text
        assert "Traceback" not in text


async def test_settings_are_checked_without_serving() -> None:
    """Good ones end with 0, bad ones as at a start; neither listens to anything."""
    async with process("--check", "--port", "9000") as worker:
        assert await said(worker) == ""
        assert worker.returncode == 0
    async with process("--check", KOFN_WORKER_THREADS="0") as worker:
        assert "threads: must be greater than or equal to 1, not 0." in await said(worker)
        assert worker.returncode == 2
