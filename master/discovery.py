"""Where the workers are: targets "host:port", whose names stand for all their addresses.

Names are looked up again every second, so that `docker compose up --scale worker=16`, a
headless Kubernetes service and a fixed list of hosts work alike. "file:PATH" stands for the targets
in a file, one a line, which is read again as often: whatever starts workers can write it. This
module says which addresses there are; `pool` keeps a link to each.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

RESOLVE_EVERY_S = 1.0  # a worker that is new, or back at another address, is found in that time
RESOLVE_TIMEOUT_S = 5.0  # a resolver that hangs must not stop the others
FILE = "file:"

log = structlog.get_logger(__name__)


def split_target(target: str) -> tuple[str, int]:
    """Host and port of a target such as "10.0.0.7:9000", "[::1]:9000", "worker:9000" or "dns:///worker:9000".

    Raises:
        ValueError: no port, or a port outside 1..65535.
    """
    bare = target.removeprefix("dns:").lstrip("/")
    host, colon, port = bare.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f"A worker target must be HOST:PORT with a port in 1..65535, not {target!r}."
        )
    return host.strip("[]"), int(port)


def check_target(target: str) -> None:
    """Refuse what is neither a file nor a host and port.

    Raises:
        ValueError: says what is accepted.
    """
    if not target.startswith(FILE):
        split_target(target)
    elif not target.removeprefix(FILE):
        raise ValueError(f"A file of worker targets must be file:PATH, not {target!r}.")


async def resolve(targets: Sequence[str]) -> dict[str, str]:
    """All addresses, as "ip:port", that the targets stand for now, each with its target's host.

    A name that fails gives none, and so does a file that cannot be read or a wrong line in it.
    """
    named = [target for target in targets if not target.startswith(FILE)]
    files = [Path(target.removeprefix(FILE)) for target in targets if target.startswith(FILE)]
    if files:
        named += await asyncio.to_thread(_targets_in, files)
    hosts = [split_target(target) for target in named]
    found = await asyncio.gather(*(_addresses(*host) for host in hosts))
    return {
        address: host
        for (host, _), addresses in zip(hosts, found, strict=True)
        for address in addresses
    }


def needs_resolving(targets: Sequence[str]) -> bool:
    """Whether any target is a name or a file: fixed addresses need no second look."""
    return any(
        target.startswith(FILE) or not _is_literal(split_target(target)[0]) for target in targets
    )


def _targets_in(files: Iterable[Path]) -> list[str]:
    """The targets in files, one a line; "#" begins a comment."""
    found = []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("targets-not-read", file=str(file), reason=str(error))
            continue
        for line in lines:
            if target := line.partition("#")[0].strip():
                try:
                    split_target(target)
                except ValueError as error:
                    log.warning("target-not-read", file=str(file), reason=str(error))
                else:
                    found.append(target)
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    return host == "localhost" or (_is_literal(host) and ipaddress.ip_address(host).is_loopback)


async def _addresses(host: str, port: int) -> frozenset[str]:
    if _is_literal(host):
        return frozenset({_joined(host, port)})
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            infos = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError) as error:
        log.info("name-not-resolved", host=host, reason=str(error) or "timeout")
        return frozenset()
    # One family only: the two addresses of a dual-stack host are one worker, not two.
    family = socket.AF_INET if any(info[0] == socket.AF_INET for info in infos) else infos[0][0]
    return frozenset(_joined(str(info[4][0]), port) for info in infos if info[0] == family)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
