"""A cluster started as a user would: `kofn up` as a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

WORKERS = 3
PATIENCE_S = 60


@dataclass
class Up:
    """A running `kofn up`."""

    process: "subprocess.Popen[bytes]"
    ready: dict[str, Any]  # as in its ready file

    @property
    def master(self) -> list[str]:
        """The flag that lets other commands find it."""
        return ["--master", self.ready["address"]]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status. Its services must be gone with it."""
        services = [self.ready["master"], *self.ready["workers"]]
        processes = [
            psutil.Process(one["pid"]) for one in services if psutil.pid_exists(one["pid"])
        ]
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)  # closes the pipes, too
        _, alive = psutil.wait_procs(processes, timeout=0)
        assert not alive, f"services left behind: {alive}"
        return self.process.returncode


def start(store: Path, log: Path, *flags: str) -> Up:
    """`kofn up` with these flags, once it has told that it is ready."""
    command = [sys.executable, "-c", "from kofn.cli import main; main()", "up", *flags]
    ports = ["--port", "0", "--metrics-port", "0", "--ready-file", "-", "--until-eof"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, *ports, "--store", str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "COLUMNS": "200"},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, log.read_text()
    return Up(process, json.loads(line))


@pytest.fixture(scope="module")
def up(digits_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for all tests of a file; it ends as well as it began."""
    log = tmp_path_factory.mktemp("up") / "log"
    flags = ("--workers", str(WORKERS), "--name", "digits", "--code", "parity")
    running = start(digits_store.root, log, *flags)
    yield running
    assert running.end() == 0, log.read_text()
