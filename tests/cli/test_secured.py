"""`kofn up --tls` and the commands that speak to it, each a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kofn.cli.securing import Hops, hops
from support.certificates import Authority
from support.commands import PATIENCE_S, kofn, start

TOKEN = {"KOFN_CONTROL_TOKEN": "correct-horse-battery-staple"}


@pytest.mark.timeout(120)  # many processes, one after the other
@pytest.mark.long
def test_a_cluster_over_tls(digits_store: Any, tmp_path: Path) -> None:
    """Queries and health for those with a certificate, control for those with a token, too."""
    log = tmp_path / "log"
    flags = ("--workers", "2", "--name", "digits", "--code", "replication", "--k", "1")
    running = start(digits_store.root, log, *flags, "--tls", "auto", environment=TOKEN)
    folder = log.read_text().partition("clients: --tls ")[2].split()[0]
    try:
        told = json.loads(
            kofn("status", *running.master, "--tls", folder, "--json", environment=TOKEN)
        )
        assert [worker["state"] for worker in told["workers"]] == ["up", "up"]
        by_environment = {"KOFN_TLS": folder, "KOFN_MASTER": running.ready["address"]}
        assert "accuracy" in kofn("infer", "digits", "--count", "8", environment=by_environment)
        refused = kofn("faults", "clear", status=1, environment=by_environment)
        assert "a token is missing" in refused
        probe = subprocess.run(
            [sys.executable, "-m", "kofn.probe", running.ready["address"]],
            env={"KOFN_TLS": folder}, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert probe.returncode == 0
    finally:
        assert running.end() == 0, log.read_text()
    assert not Path(folder).parent.exists()


def test_one_folder_may_serve_all_hops_or_have_one_for_each(tmp_path: Path) -> None:
    """As it was made by hand, or by `kofn certificates`."""
    authority = Authority(tmp_path / "authority")
    one = authority.certify("all", trusts=authority)
    with hops(one, None) as made:
        assert made == Hops(one, one, one)
    four = tmp_path / "four"
    said = kofn("certificates", str(four), "--master", "kofn.example")
    assert f"certificates in {four} were made" in said
    assert "stay as they are" in kofn("certificates", str(four))
    with hops(four, None) as made:
        assert made == Hops(four / "master", four / "worker", four / "workers")
    with hops(None, None) as made:
        assert made is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tls", "/nowhere"), "TLS folder /nowhere: must have tls.crt and tls.key"),
        (("--tls-peer-name", "master"), "goes with --tls"),
        (("--token-file", "/nowhere"), "token file /nowhere: cannot be read"),
    ],
)
def test_files_that_are_missing_are_told(flags: tuple[str, ...], words: str) -> None:
    """At once, and nothing is dialled."""
    assert words in kofn("status", *flags, status=2 if "goes with" in words else 1)


def test_a_short_token_is_refused() -> None:
    """With what is accepted."""
    said = kofn("status", status=1, environment={"KOFN_CONTROL_TOKEN": "123"})
    assert "16 or more printable ASCII letters" in said
