"""Clients that others wrote, each in an environment of its own beside the checkout.

Some define the same protobuf names as our stubs and cannot be imported beside them. An environment
is made once and never mixed with our own; one that cannot be made fails the test that needs it.
"""

import asyncio
import fcntl
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.scenarios import Scenario

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "conformance" / "clients"
PROTO = ROOT / "protos" / "kofn" / "wire" / "inference.proto"
INSTALL_S = 600.0  # the largest takes 434 MB
RUN_S = 300.0  # patient: the machine may be busy
CAPABLE = frozenset({"typed", "nan", "stream", "statistics"})


@dataclass(frozen=True)
class Client:
    """One published client.

    Attributes:
        name: of the client; the script is clients/with_NAME.
        requirements: packages with their versions.
        can: what it can send or ask beside raw tensors; see `support.scenarios`.
        environment: the name of its environment, where several clients share one.
        is_heavy: whether its installation is too large for the default suite.
    """

    name: str
    requirements: tuple[str, ...]
    can: frozenset[str]
    environment: str
    is_heavy: bool = True

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        """Large ones are not in the default suite."""
        return [pytest.mark.heavy] if self.is_heavy else []

    @property
    def runs_on_node(self) -> bool:
        """Whether it is one of JavaScript."""
        return self.name == "grpc_js"


TRITON = ("tritonclient[grpc]==2.73.0",)
CLIENTS = (
    Client("triton", TRITON, CAPABLE, "tritonclient", is_heavy=False),
    Client("triton_aio", TRITON, CAPABLE, "tritonclient", is_heavy=False),
    Client("kserve", ("kserve==0.21.0",), frozenset({"typed", "nan"}), "kserve"),
    Client("mlserver", ("mlserver==1.7.1",), frozenset({"typed"}), "mlserver"),
    Client(
        "open_inference",
        ("open-inference-grpc==2.0.0", "protobuf>=6,<8"),  # it does not declare the second
        frozenset({"typed", "nan", "stubs"}),
        "open-inference",
    ),
    Client(
        "grpc_js",
        ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1", "grpc-health-check@2.1.0"),
        CAPABLE | {"stubs"},
        "grpc-js",
    ),
)


@dataclass
class Suite:
    """A live master, and what the clients say of it.

    Attributes:
        address: of the master.
        plan: file with what a client is to ask.
        scenarios: by name.
        expected: the uncoded model's logits for the images of the plan.
        told: what each client printed, or why it could not be run; by name.
    """

    address: str
    plan: Path
    scenarios: dict[str, Scenario]
    expected: np.ndarray
    told: dict[str, dict[str, Any] | Exception]

    def seen_by(self, client: Client) -> dict[str, Any]:
        """What that client saw."""
        told = self.told[client.name]
        if isinstance(told, Exception):
            pytest.fail(f"{client.name} could not be run: {told}", pytrace=False)
        return told


async def descriptors(client: Client, module: str) -> dict[str, Any]:
    """The messages, enums and methods of a client's compiled protocol."""
    python = await environment(client.environment, *client.requirements)
    return json.loads(await run(python, SCRIPTS / "descriptors.py", module))


async def told_by(client: Client, address: str, plan: Path) -> dict[str, Any]:
    """Run a client through a plan; what it printed."""
    if client.runs_on_node:
        folder = await node_environment(client.environment, *client.requirements)
        command = ("node", SCRIPTS / "with_grpc_js.js", address, plan, PROTO)
        return json.loads(await run(*command, environment={"CLIENT_FOLDER": str(folder)}))
    python = await environment(client.environment, *client.requirements)
    return json.loads(await run(python, SCRIPTS / f"with_{client.name}.py", address, plan))


async def environment(name: str, *requirements: str) -> Path:
    """The python of .venv-NAME, made and filled when it is not there yet."""
    async with _installing(name, *requirements) as (folder, is_missing):
        python = folder / "bin" / "python"
        if is_missing:
            await run(sys.executable, "-m", "venv", "--clear", folder)
            await run(python, "-m", "pip", "install", "--quiet", *requirements, limit_s=INSTALL_S)
    return python


async def node_environment(name: str, *requirements: str) -> Path:
    """A folder with `node_modules`; without Node.js the test is skipped, except where CI runs."""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("Node.js is missing; .ci/run installs it")
        pytest.skip("needs Node.js with npm")
    async with _installing(name, *requirements) as (folder, is_missing):
        if is_missing:
            options = ("--no-audit", "--no-fund", "--prefix", folder)
            await run("npm", "install", *options, *requirements, limit_s=INSTALL_S)
    return folder


async def perf_analyzer() -> tuple[Path, tuple[Path, ...]]:
    """NVIDIA's perf_analyzer and the folders of the libraries that it needs.

    The last release whose wheel runs on this C library carries the binary beside tritonclient.
    """
    wheels = ("tritonclient==2.50.0", "nvidia-cuda-runtime-cu12==12.9.79")
    async with _installing("perf-analyzer", *wheels, "libb64-0d") as (folder, is_missing):
        if is_missing:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
            platform = ("--only-binary=:all:", "--platform", "manylinux1_x86_64")
            await run(*pip, *platform, "--dest", folder, wheels[0], limit_s=INSTALL_S)
            await run(*pip, "--dest", folder, wheels[1], limit_s=INSTALL_S)
            for wheel in folder.glob("*.whl"):
                await run(sys.executable, "-m", "zipfile", "-e", wheel, folder)
            await run("apt-get", "download", "libb64-0d", folder=folder)
            for package in folder.glob("*.deb"):
                await run("dpkg", "-x", package, folder)
        binary = folder / "tritonclient-2.50.0.data" / "data" / "bin" / "perf_analyzer"
        binary.chmod(0o755)
    libraries = (folder / "nvidia" / "cuda_runtime" / "lib", folder / "usr/lib/x86_64-linux-gnu")
    return binary, libraries


async def run(
    *command: str | Path,
    limit_s: float = RUN_S,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> bytes:
    """What a command printed; it must end well and within `limit_s`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | dict(environment or {}),
        cwd=folder,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"{' '.join(map(str, command))}:\n{err.decode()}"
    return out


@asynccontextmanager
async def _installing(name: str, *requirements: str) -> AsyncIterator[tuple[Path, bool]]:
    """The folder .venv-NAME and whether it must be filled; one process at a time has it."""
    folder, wanted = ROOT / f".venv-{name}", "\n".join(requirements)
    stamp, lock = folder / ".ready", ROOT / f".venv-{name}.lock"
    with lock.open("w") as held:
        await asyncio.to_thread(fcntl.flock, held, fcntl.LOCK_EX)
        is_missing = not stamp.exists() or stamp.read_text() != wanted
        if is_missing:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder, is_missing
        stamp.write_text(wanted)
