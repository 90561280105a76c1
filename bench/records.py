"""Result records: one JSON object a line, with all that is needed to believe it."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
VERSIONS = ("torch", "numpy", "grpcio", "protobuf")


def provenance() -> dict[str, Any]:
    """Machine, versions, commit and time of a record made now."""
    commit, dirty = _commit()
    return {
        "machine": machine(),
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": commit,
        "dirty": dirty,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def machine(device: str = "cpu") -> str:
    """Cores, processor and vector extensions, in words; with the GPU, if that is the device."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":", 1)[1].strip() for line in facts.splitlines() if "model name" in line]
    vector = "AVX-512" if "avx512f" in facts else "AVX2" if "avx2" in facts else "no AVX2"
    host = f"{os.cpu_count()} cores, {models[0] if models else platform.processor()}, {vector}"
    if not device.startswith("cuda"):
        return host
    import torch  # takes seconds, and most records need none of it

    return f"{host}, {torch.cuda.get_device_name(device)}"


def append(table: str, records: Iterable[dict[str, Any]]) -> Path:
    """Add records to bench/results/TABLE.jsonl; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{table}.jsonl"
    with path.open("a") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
    return path


def read(table: str) -> Iterator[dict[str, Any]]:
    """All records of a table, oldest first; none when there is no file."""
    path = RESULTS / f"{table}.jsonl"
    if path.exists():
        with path.open() as file:
            yield from map(json.loads, file)


def newest(table: str) -> list[dict[str, Any]]:
    """The records of the last run: those that share the last record's run id."""
    records = list(read(table))
    return [record for record in records if record["run"] == records[-1]["run"]]


def _versions() -> dict[str, str]:
    return {name: version(name) for name in VERSIONS}


@cache
def _commit() -> tuple[str, bool]:
    def git(*arguments: str) -> str:
        here = Path(__file__).resolve().parent
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=False, timeout=10
        )
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD"), bool(git("status", "--porcelain"))
