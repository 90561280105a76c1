"""A project of `docker compose` for tests: its own name, network and ports, and nothing left."""

import json
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 600.0


def engine_missing() -> str:
    """Why no container can be started here; empty when one can."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    for asked in (["info"], ["compose", "version"]):
        done = subprocess.run(["docker", *asked], capture_output=True, text=True, timeout=60)
        if done.returncode:
            return done.stderr.strip() or f"docker {' '.join(asked)} failed"
    return ""


def clean_checkout(folder: Path) -> Path:
    """What git knows of this checkout, changed files as they are now: no build output travels."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


class Project:
    """One project; `files` are its compose files, `variables` what the shell sets."""

    def __init__(
        self, checkout: Path, variables: Mapping[str, str], files: Sequence[str] = ()
    ) -> None:
        self.name = f"kofn-test-{uuid.uuid4().hex[:8]}"
        self.port, metrics_port = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self.metrics_address = f"127.0.0.1:{metrics_port}"
        self._checkout = checkout
        self._files = [part for file in files for part in ("-f", file)]
        own = {"KOFN_PORT": str(self.port), "KOFN_METRICS_PORT": str(metrics_port)}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("KOFN_", "COMPOSE_"))}
        self._environment = {**kept, **own, **variables}

    def compose(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run `docker compose ...` and wait; what it said is in the error when it fails."""
        done = subprocess.run(
            ["docker", "compose", "--progress", "plain", "-p", self.name, *self._files, *arguments],
            cwd=self._checkout, env=self._environment, capture_output=True, text=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def containers(self, service: str, *, every: bool = False) -> list[str]:
        """Ids of the containers of a service that run, or of all of them."""
        flags = ("--all",) if every else ()
        return self.compose("ps", "-q", *flags, service).stdout.split()

    def logs(self) -> str:
        """What its services wrote, the last lines of each."""
        return self.compose("logs", "--no-color", "--tail", "30", check=False).stdout

    def down(self) -> None:
        """Remove containers, network and volumes."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)

    def left(self) -> dict[str, list[str]]:
        """What of it the engine still has."""
        kinds = {"container": ["--all"], "network": [], "volume": []}
        of = ["--filter", f"label=com.docker.compose.project={self.name}", "-q"]
        return {kind: docker(kind, "ls", *flags, *of).split() for kind, flags in kinds.items()}


@contextmanager
def project(
    checkout: Path, variables: Mapping[str, str], files: Sequence[str] = ()
) -> Iterator[Project]:
    """A project that is taken down at the end, whatever happens."""
    made = Project(checkout, variables, files)
    try:
        yield made
    finally:
        made.down()
    assert not any(left := made.left().values()), left


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; published ones must be known before the start."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def docker(*arguments: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspected(thing: str) -> Any:
    """What the engine tells of a container or an image."""
    return json.loads(docker("inspect", thing))[0]


def process_of(container: str) -> psutil.Process:
    """The first process of a container, as this machine sees it."""
    return psutil.Process(inspected(container)["State"]["Pid"])
