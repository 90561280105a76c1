"""Targets and names: what they resolve to, and how bad ones are refused."""

from pathlib import Path

import pytest

from master.discovery import check_target, needs_resolving, resolve, split_target


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("10.0.0.7:9000", "10.0.0.7", 9000),
        ("worker:9000", "worker", 9000),
        ("dns:///worker:9000", "worker", 9000),
        ("dns:worker:1", "worker", 1),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_targets_are_read(target: str, host: str, port: int) -> None:
    """Host and port of every accepted form."""
    assert split_target(target) == (host, port)


@pytest.mark.parametrize("target", ["worker", "worker:", ":9000", "worker:0", "worker:65536", ""])
def test_bad_targets_are_refused(target: str) -> None:
    """The message says what is accepted and what came."""
    with pytest.raises(ValueError, match=r"HOST:PORT with a port in 1\.\.65535"):
        split_target(target)


async def test_addresses_stand_for_themselves() -> None:
    """No look-up for what is an address already."""
    targets = ["127.0.0.1:9001", "127.0.0.2:9001", "[::1]:9001"]
    assert not needs_resolving(targets)
    hosts = ["127.0.0.1", "127.0.0.2", "::1"]
    assert await resolve(targets) == dict(zip(targets, hosts, strict=True))


async def test_a_name_is_one_worker_an_address() -> None:
    """A dual-stack name does not count twice, and an unknown one gives nothing."""
    assert needs_resolving(["localhost:9001"])
    found = await resolve(["localhost:9001", "no-such-host.invalid:9001"])
    assert found in ({"127.0.0.1:9001": "localhost"}, {"[::1]:9001": "localhost"})


async def test_a_file_is_read_at_every_look(tmp_path: Path) -> None:
    """Comments and empty lines aside; a wrong line costs only itself, a lost file everything."""
    file = tmp_path / "workers"
    target = f"file:{file}"
    assert needs_resolving([target])
    assert await resolve([target]) == {}
    file.write_text("127.0.0.1:9001  # worker-0\n\nno port here\n127.0.0.1:9002\n")
    found = await resolve([target, "127.0.0.1:9003"])
    assert found.keys() == {f"127.0.0.1:{port}" for port in (9001, 9002, 9003)}
    file.write_text("127.0.0.1:9004\n")
    assert await resolve([target]) == {"127.0.0.1:9004": "127.0.0.1"}
    file.write_bytes(b"\xff")
    assert await resolve([target]) == {}


@pytest.mark.parametrize("target", ["file:", "worker"])
def test_targets_are_checked_when_they_are_read(target: str) -> None:
    """A deployment file's mistake is told before anything starts."""
    check_target("file:workers.txt")
    with pytest.raises(ValueError, match=f"not '{target}'"):
        check_target(target)
