"""`python -m master` as a process: flags over environment over file, errors by field, drain."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import kofn

PATIENCE_S = 25.0


async def start(*flags: str, **environment: str) -> asyncio.subprocess.Process:
    """A master's process."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master", *flags),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Exit status and what it wrote to standard error."""
    async with asyncio.timeout(PATIENCE_S):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def ready(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """What it told when it was ready."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        told: dict[str, Any] = json.loads(await process.stdout.readline())
    return told


async def test_a_master_serves_drains_and_ends(tmp_path: Path) -> None:
    """Flags win over the environment, and that over the file; SIGTERM ends it with 0."""
    file = tmp_path / "deployment.yaml"
    file.write_text("server: {host: 127.0.0.9, port: 1, metrics_port: 1}\n")
    process = await start(
        *("--config", str(file), "--port", "0", "--ready-file", "-"),
        KOFN_MASTER_PORT="2",
        KOFN_MASTER_METRICS_PORT="0",
    )
    try:
        told = await ready(process)
        assert told["pid"] == process.pid
        assert told["address"].startswith("127.0.0.9:")
        assert not told["metrics_address"].endswith((":0", ":1"))
        async with kofn.AsyncClient(told["address"]) as client:
            assert await client.is_ready()
        process.send_signal(signal.SIGTERM)
        status, errors = await ended(process)
        assert status == 0, errors
        events = [json.loads(line)["event"] for line in errors.splitlines()]
        assert events == ["serving", "draining"]
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_it_ends_with_its_standard_input() -> None:
    """What a launcher relies on that may be killed."""
    process = await start("--port", "0", "--metrics-port", "0", "--ready-file", "-", "--until-eof")
    await ready(process)
    assert process.stdin is not None
    process.stdin.close()
    assert (await ended(process))[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("server: {prot: 1}", ["deployment.yaml:1: server.prot", "did you mean 'port'"]),
        ("workers: [nowhere]", ["deployment.yaml:1: workers", "nowhere"]),
        (
            "deployments:\n  - name: a\n    program: b\n    code: {name: parity, k: 7, n: 3}\n",
            ["deployment.yaml:4: deployments[0].code", "'n'"],
        ),
        (
            "deployments:\n  - {name: a, program: nowhere-to-be-found}\n",
            ["nowhere-to-be-found"],
        ),
    ],
)
async def test_a_wrong_file_is_told_by_line_and_field(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    """Exit 2 before anything is served."""
    file = tmp_path / "deployment.yaml"
    file.write_text(text)
    flags = ("--config", str(file), "--port", "0", "--metrics-port", "0")
    status, errors = await ended(await start(*flags, KOFN_STORE=str(tmp_path)))
    assert status == 2, errors
    for word in words:
        assert word in errors


async def test_a_wrong_flag_is_told() -> None:
    """By its name."""
    status, errors = await ended(await start("--port", "70000"))
    assert status == 2
    assert "server.port" in errors


@pytest.mark.parametrize(
    ("program", "status", "complaint"), [("digits-lenet", 0, ""), ("no-such", 2, "no-such")]
)
async def test_settings_are_checked_without_serving(
    tmp_path: Path, program: str, status: int, complaint: str
) -> None:
    """A deployment is bound as at a start: a program that nobody has is found."""
    file = tmp_path / "deployment.yaml"
    file.write_text(f"deployments: [{{name: digits, program: {program}}}]\n")
    checked, errors = await ended(await start("--check", "--config", str(file), "--port", "1"))
    assert checked == status
    assert complaint in errors
