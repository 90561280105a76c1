"""The examples of docs/clients.md, as they stand there, against a live master."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import data
from support.foreign import CLIENTS, PROTO, ROOT, Client, Suite, environment, node_environment, run
from support.scenarios import IMAGES

pytestmark = pytest.mark.timeout(900)  # the first test of a client installs it

TEXT = (ROOT / "docs" / "clients.md").read_text()
HEADINGS = {
    "triton": "tritonclient",
    "triton_aio": "tritonclient on asyncio",
    "kserve": "KServe",
    "mlserver": "MLServer",
    "open_inference": "open-inference-grpc",
    "grpc_js": "gRPC for Node.js",
}


@pytest.fixture(scope="session")
async def printed(request: pytest.FixtureRequest, suite: Suite, folder: Path) -> str:
    """What a client's example printed; only the address is another than in the document."""
    client: Client = request.param
    code = example(HEADINGS[client.name]).replace("127.0.0.1:8001", suite.address)
    if client.runs_on_node:
        home = await node_environment(client.environment, *client.requirements)
        command: tuple[str | Path, ...] = ("node", "-e", code)
        where = {"NODE_PATH": str(home / "node_modules")}
    else:
        command = (await environment(client.environment, *client.requirements), "-c", code)
        where = {}
    return (await run(*command, environment=where, folder=folder)).decode()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where examples are run: with the images, and the protocol's file."""
    made = tmp_path_factory.mktemp("examples")
    np.save(made / "images.npy", data.load("digits", "test").images[:IMAGES].numpy())
    shutil.copy(PROTO, made)
    return made


@pytest.mark.parametrize(
    "printed",
    [pytest.param(client, marks=client.marks, id=client.name) for client in CLIENTS],
    indirect=True,
    scope="session",
)
def test_an_example_prints_the_digits(suite: Suite, printed: str) -> None:
    """Those that the uncoded model sees."""
    assert json.loads(printed) == suite.expected.argmax(1).tolist()


def example(heading: str) -> str:
    """The one block of code under a heading."""
    section = re.split(rf"^## {re.escape(heading)}$", TEXT, flags=re.MULTILINE)[1]
    section = section.split("\n## ")[0]
    (code,) = re.findall(r"^```\w+\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    return str(code)
