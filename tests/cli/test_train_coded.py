"""`kofn train-coded`: a model from workers into the store, and what is refused before a start."""

import asyncio
import contextlib
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from kofn.cli import app
from models.store import Store
from nodes.config import read_config
from nodes.wire import RemotePeers
from support.certificates import Authority
from support.commands import KOFN
from support.until import until
from worker.config import WorkerConfig
from worker.server import WorkerServer

runner = CliRunner()

pytestmark = pytest.mark.long


@pytest.mark.timeout(180)  # a process of its own, on a machine that is busy
@pytest.mark.parametrize("with_tls", [False, True])
async def test_a_model_is_trained_over_workers_and_kept(tmp_path: Path, *, with_tls: bool) -> None:
    authority = Authority(tmp_path)
    folder = authority.certify("both", trusts=authority)
    async with AsyncExitStack() as stack:
        addresses = []
        for number in range(3):
            told = {"name": f"w{number}", "cache": tmp_path / "programs", "drain_s": 0, "port": 0}
            told |= {"tls": folder} if with_tls else {}
            server = WorkerServer(WorkerConfig.model_validate(told))
            addresses.append((await stack.enter_async_context(server)).address)
        flags = ["--targets", ",".join(addresses), "--blocks", "1", "--steps", "4", "--compare"]
        flags += ["--tls", str(folder)] if with_tls else []
        kept = ["--set", "hidden=[4]", "--name", "coded", "--store", str(tmp_path), "--json"]
        process = await asyncio.create_subprocess_exec(
            *KOFN, "train-coded", *flags, *kept,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told = json.loads(output)
    assert told["difference"] < 5e-6
    accuracy = told["metrics"]["test_accuracy"]["value"]
    assert told["plain_accuracy"] == pytest.approx(accuracy, abs=0.003)  # one image
    assert told["rollbacks"] == 0
    store = Store(tmp_path, shipped=None)
    assert store.names() == ("coded",)
    assert store.card("coded").recipe["coded"] == {"blocks": [1, 1], "nodes": 3, "dtype": "float32"}


@pytest.mark.timeout(300)  # eight processes, on a machine that is busy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_nodes_end_with_the_command_though_they_only_just_start(number: int) -> None:
    flags = ["--workers", "7", "--blocks", "2", "--steps", "100000"]
    process = await asyncio.create_subprocess_exec(
        *KOFN, "train-coded", "--decentralised", *flags, stderr=asyncio.subprocess.DEVNULL
    )
    nodes: list[psutil.Process] = []
    try:
        command = psutil.Process(process.pid)
        await until(lambda: len(command.children()) == 7, 120)
        nodes = command.children()
        process.send_signal(number)
        assert await process.wait() == 128 + number
        assert not [node for node in nodes if node.is_running()]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for node in nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                node.kill()


@pytest.mark.timeout(300)  # eight processes, on a machine that is busy
async def test_nodes_train_without_a_master_though_one_is_killed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    flags = ["--workers", "7", "--blocks", "2", "--steps", "60", "--set", "hidden=[6]"]
    flags += ["--tls", str(authority.certify("both", trusts=authority))]
    more = ["--checkpoint-every", "10", "--compare", "--json"]
    process = await asyncio.create_subprocess_exec(
        *KOFN, "train-coded", "--decentralised", *flags, *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        command = psutil.Process(process.pid)
        await until(lambda: len(command.children()) == 7, 120)
        victim = command.children()[3]
        config = read_config(Path(victim.cmdline()[victim.cmdline().index("--config") + 1]))
        peers = RemotePeers(config.addresses, tls=config.tls)
        try:
            while (await peers.standing(0)).step < 5:
                pass
        finally:
            await peers.close()
        victim.kill()
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    told = json.loads(output)
    assert told["difference"] < 5e-6
    assert told["plain_accuracy"] == pytest.approx(told["test_accuracy"], abs=0.003)  # one image
    assert told["deaths"] == 1
    assert "died (-9)" in errors.decode()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--workers", "6"], "'nodes' must be"),
        (["--blocks", "0"], "one or two whole numbers"),
        (["--dtype", "float16"], "float32 or float64"),
        (["--faults", '{"corruption": {"law": "lies"}}'], "'lies'"),
        (["--targets", "a:1", "--faults", "{}"], "started here"),
        (["--tls", "somewhere"], "goes with --targets or --decentralised"),
        (["--targets", "a:1", "--tls", "nowhere"], "it has none of them"),
        (["--targets", "a:1", "--tls-peer-name", "a"], "goes with --tls"),
        (["--decentralised", "--targets", "a:1"], "not for --decentralised"),
        (["--decentralised", "--blocks", "2,2"], "rows only"),
        (["--decentralised", "--workers", "6"], "'nodes' must be"),
        (["--decentralised", "--set", "width=3"], "hidden, activation"),
        (["--decentralised", "--faults", '{"lies": 1}'], "probabilities of product"),
    ],
)
def test_what_cannot_be_is_refused_at_once(flags: list[str], says: str) -> None:
    """What clients of a master find in the environment has no say here."""
    environment = {"KOFN_TLS": "nowhere", "KOFN_TLS_PEER_NAME": "master"}
    done = runner.invoke(app, ["train-coded", *flags], env=environment)
    assert done.exit_code != 0
    assert says in (done.output + str(done.exception)).replace("\n", " ").replace("│", "")
