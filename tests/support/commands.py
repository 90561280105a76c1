"""`kofn` as a user runs it: as a process of its own, or in this one where that is the same."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from typer.testing import CliRunner

from kofn.cli import app

PATIENCE_S = 60
KOFN = [sys.executable, "-c", "from kofn.cli import main; main()"]


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


def start(store: Path, log: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Up:
    """`kofn up` with these flags, once it has told that it is ready."""
    ports = ["--port", "0", "--metrics-port", "0", "--ready-file", "-", "--until-eof"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*KOFN, "up", *flags, *ports, "--store", str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "COLUMNS": "200", **(environment or {})},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, log.read_text()
    return Up(process, json.loads(line))


def kofn(*arguments: str, status: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """Run a command; both of its outputs."""
    done = subprocess.run(
        [*KOFN, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def run(*arguments: str, status: int = 0) -> str:
    """Run a command in this process; its standard output."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, f"{done.output}\n{done.exception}"
    return done.stdout
