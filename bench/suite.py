"""Everything in sequence: the steps of suite.toml, what is done of them, and what they took.

A step is a command of its own, so that one that ends badly ends nothing else. The log is a line of
JSON for each that ended; what ended well under the same command is not run again.
"""

import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bench import records

SUITE = Path(__file__).parent / "suite.toml"
BENCH = [sys.executable, "-m", "bench"]


class Step(BaseModel):
    """One command.

    Attributes:
        name: of the step.
        command: after `python -m bench`.
        records: of bench/results/RECORDS.jsonl, which it appends to.
        dataset: of these records those that are of it; "" is all.
        shown: where its table or figure stands.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    command: str
    records: str
    shown: str
    dataset: str = ""

    def found(self) -> list[dict[str, Any]]:
        """Its records, oldest first."""
        all_ = records.read(self.records)
        return [one for one in all_ if self.dataset in ("", one.get("dataset"))]

    @property
    def words(self) -> list[str]:
        """Of the command."""
        return shlex.split(self.command)


def steps(pattern: str = "*") -> list[Step]:
    """Those of the suite whose name matches.

    Raises:
        ValueError: none does.
    """
    content = tomllib.loads(SUITE.read_text("utf-8"))
    found = TypeAdapter(list[Step]).validate_python(content["steps"])
    wanted = [step for step in found if fnmatch(step.name, pattern)]
    if not wanted:
        known = ", ".join(step.name for step in found)
        raise ValueError(f"No step matches {pattern!r}; there are: {known}.")
    return wanted


def done(log: Path) -> set[tuple[str, str]]:
    """Names and commands of what ended well, the last time."""
    if not log.exists():
        return set()
    ended = map(json.loads, log.read_text("utf-8").splitlines())
    last = {(one["name"], one["command"]): one["status"] for one in ended}
    return {step for step, status in last.items() if status == 0}


def run(
    wanted: Iterable[Step], log: Path, tell: Callable[[str], None], again: bool = False
) -> list[Step]:
    """Run what is not done yet, one after the other; gives those that ended badly.

    Args:
        wanted: in order.
        log: appended to as each ends.
        tell: what happens, in words.
        again: run what is done, too.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    before, failed = set() if again else done(log), []
    for step in wanted:
        if (step.name, step.command) in before:
            tell(f"{step.name}: done before")
            continue
        tell(f"{step.name}: python -m bench {step.command}")
        began, at = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
        status = subprocess.run([*BENCH, *step.words], check=False).returncode
        seconds = round(monotonic() - at, 1)
        ended = {
            "name": step.name, "command": step.command, "status": status, "seconds": seconds,
            "began": began, **records.provenance(),
        }  # fmt: skip
        with log.open("a") as file:
            file.write(json.dumps(ended) + "\n")
        tell(f"{step.name}: {'done' if status == 0 else f'status {status}'} after {seconds:.0f} s")
        if status:
            failed.append(step)
    return failed


def took_s(found: Sequence[dict[str, Any]]) -> float:
    """Of records: from the beginning of each run to its last record, all runs together."""
    runs: dict[str, str] = {}
    for record in found:
        runs[record["run"]] = max(runs.get(record["run"], ""), record["time"])
    return sum(
        (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
        for first, last in runs.items()
    )
