"""A cluster started as a user would: `kofn up` as a process of its own."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.commands import Up, start

WORKERS = 3


@pytest.fixture(scope="module")
def up(digits_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for all tests of a file; it ends as well as it began."""
    log = tmp_path_factory.mktemp("up") / "log"
    flags = ("--workers", str(WORKERS), "--name", "digits", "--code", "parity")
    running = start(digits_store.root, log, *flags)
    yield running
    assert running.end() == 0, log.read_text()
