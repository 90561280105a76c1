"""Records from files: JSON objects, a line each, and where they are from.

A record says what it is by its `table`; without one, by the name of its file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Provenance:
    """Where figures are from.

    Attributes:
        command: that made them.
        commit: of the code; with "+" when files were changed beside it.
        date: of the last of them, YYYY-MM-DD.
        machine: in words.
    """

    command: str
    commit: str
    date: str
    machine: str

    def __str__(self) -> str:
        parts = (
            f"`{self.command}`" if self.command else "",
            self.commit and f"commit {self.commit}",
        )
        return ", ".join(part for part in (*parts, self.date, self.machine) if part)


def provenance(found: Iterable[Mapping[str, Any]]) -> tuple[Provenance, ...]:
    """Of records: one for each command, commit and machine, the last date of each; oldest first."""
    seen: dict[tuple[str, str, str], str] = {}
    for record in found:
        commit = str(record.get("commit", "")) + ("+" if record.get("dirty") else "")
        key = str(record.get("command", "")), commit, str(record.get("machine", ""))
        seen[key] = max(seen.get(key, ""), str(record.get("time", record.get("run", "")))[:10])
    kept = [Provenance(command, commit, date, machine)
            for (command, commit, machine), date in seen.items()]  # fmt: skip
    return tuple(sorted(kept, key=lambda one: one.date))


def read(paths: Sequence[Path]) -> list[Record]:
    """All records of some files, and of the *.jsonl files in and below some folders.

    Raises:
        FileNotFoundError: a path is not there.
        ValueError: a line is not a record, or there is none at all; names file and line.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(path.rglob("*.jsonl"))
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"There is no file or folder {path}.")
    found = [record for file in dict.fromkeys(files) for record in _lines(file)]
    if not found:
        looked = ", ".join(map(str, paths))
        raise ValueError(f"There are no records in {looked}: *.jsonl files of `python -m bench`.")
    return found


def _lines(file: Path) -> Iterable[Record]:
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {number}: not JSON: {error}.") from error
        if not isinstance(record, dict):
            raise ValueError(f"{file}, line {number}: must be a JSON object, not {line[:40]!r}.")
        yield {"table": file.stem, **record}
