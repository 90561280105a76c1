"""Rules for every test: marks by folder, real data when it is at hand, nothing left behind."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from models.programs import Program
    from models.store import Store

ROOT = Path(__file__).resolve().parents[1]
MARKS = {"cluster": "cluster", "conformance": "conformance", "containers": "containers"}
# A task that only ends takes a turn or two of the loop; a call to who went without a word ends when
# its channel gives up, after six seconds; and the machine may be busy.
ENDING_S = 10.0

# What a shell runs in the background ignores Ctrl-C, and so would all commands under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Data sets beside the checkout, where there are any; tests that need them skip without.
if "KOFN_DATA" not in os.environ and (ROOT.parent / "shared" / "data").is_dir():
    os.environ["KOFN_DATA"] = str(ROOT.parent / "shared" / "data")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The mark comes from the folder."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in MARKS:
            item.add_marker(MARKS[folder])


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """A child process or a running asyncio task that outlives its test fails it."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    threads = {thread.ident for thread in threading.enumerate() if not thread.daemon}
    yield
    children = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
    _, alive = psutil.wait_procs(children, timeout=5)
    left = [" ".join(_command(child)) for child in alive]
    for child in alive:
        child.kill()
    assert not left, f"processes left behind: {left}"
    named = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon
        and thread.ident not in threads
        and not thread.name.startswith(("asyncio_", "ThreadPoolExecutor"))
    ]
    assert not named, f"threads left behind: {named}"


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> None:
    """A background task that outlives its test fails it; gRPC's own, which are ending, may end."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=ENDING_S)
    assert not left, f"tasks left behind: {left}"


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory: pytest.TempPathFactory) -> "Store":
    """A store with digits-mlp in it."""
    from models.store import Store
    from training.base import train_and_store

    store = Store(tmp_path_factory.mktemp("store"), shipped=None)
    train_and_store("digits", "mlp", store=store)
    return store


@pytest.fixture(scope="session")
def trained_store(digits_store: "Store") -> "Store":
    """The store with codes trained for digits-mlp at k = 2: one of every kind."""
    from training.basis import basis
    from training.codes import CodePlan, train_code

    base = basis("digits-mlp", digits_store)
    plans = (
        CodePlan("backup", 2, epochs=5, student={"hidden": (32,)}),
        CodePlan("assisted", 2, epochs=5, student={"hidden": (16,)}, parity={"hidden": (16,)}),
        CodePlan("learned", 2, epochs=2),
        CodePlan("split-lagrange", 2, 2, cut="input", slots=(3, 4), epochs=20),
    )
    for plan in plans:
        made = train_code(plan, base)
        digits_store.codes.save(made.card, made.programs, made.weights)
    return digits_store


@pytest.fixture(scope="session")
def digits_program(digits_store: "Store") -> "Program":
    """Its program, uncoded."""
    from models.programs import load_program

    return load_program(digits_store.archive("digits-mlp"))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return [f"pid {process.pid}"]
