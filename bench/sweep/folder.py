"""The folder of a sweep: its plan, and the records of every point that is finished.

The records of a point are written in one go, so that a sweep that was broken off has measured a
point whole or not at all, and no point was measured in two runs, let alone by two machines.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

from bench.sweep.plan import Plan
from bench.sweep.record import Record, parsed, read

PLAN, CELLS = "plan.json", "cells.jsonl"


class FolderError(ValueError):
    """The folder is another plan's, or is in use."""


class Folder(AbstractContextManager["Folder"]):
    """Opened for one plan; nobody else may write to it meanwhile.

    Args:
        path: made where it is not there.
        plan: whose records.
        systems: by the point's name, the systems that are to be measured there.

    Raises (on entry):
        FolderError: it holds something else, or another sweep writes to it.
        RecordError: its records are unreadable.
    """

    def __init__(self, path: Path, plan: Plan, systems: Mapping[str, Sequence[str]]) -> None:
        self.path = path
        self._plan = plan
        self._systems = systems
        self._lock: TextIO

    def __enter__(self) -> "Folder":
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise FolderError(f"{self.path}: another sweep writes to it.") from None
        try:
            self._check_plan()
            self._drop_unfinished()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()

    @property
    def cells(self) -> Path:
        """The file of records."""
        return self.path / CELLS

    def records(self) -> list[Record]:
        """Of all points that are finished."""
        return list(read(self.cells)) if self.cells.exists() else []

    def finished(self) -> set[str]:
        """The names of the points that need not be measured."""
        return {record.point for record in self.records()}

    def add(self, records: Sequence[Record]) -> None:
        """Keep the records of a point, all of them at once."""
        text = "".join(f"{record.line()}\n" for record in records)
        with self.cells.open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _check_plan(self) -> None:
        """The folder is empty, or this plan's."""
        file = self.path / PLAN
        said = {"name": self._plan.text.name, "hash": self._plan.hash}
        content = {**said, "plan": self._plan.text.model_dump(mode="json")}
        if not file.exists():
            others = sorted(p.name for p in self.path.iterdir() if p.name != ".lock")
            if others:
                raise FolderError(
                    f"{self.path}: holds {others[0]!r} and no plan: it must be empty or a sweep's."
                )
            file.write_text(json.dumps(content, indent=2) + "\n")
            return
        known = json.loads(file.read_text())
        if known.get("hash") != self._plan.hash:
            changed = _changed(known.get("plan", {}), content["plan"])
            raise FolderError(
                f"{self.path}: belongs to the plan {known.get('name')!r} with another content"
                f"{f' ({changed})' if changed else ''}: choose another folder with --out."
            )

    def _drop_unfinished(self) -> None:
        """Forget a point whose writing was broken off, and one of more than one run."""
        if not self.cells.exists():
            return
        text = self.cells.read_text()
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
        records = list(parsed(self.cells, lines))
        whole = {
            point
            for point, systems in self._systems.items()
            if sorted(r.system for r in records if r.point == point) == sorted(systems)
            and len({(r.machine, r.run) for r in records if r.point == point}) == 1
        }
        kept = "".join(f"{record.line()}\n" for record in records if record.point in whole)
        if kept != text:
            beside = self.cells.with_suffix(".part")
            beside.write_text(kept)
            beside.replace(self.cells)


def _changed(before: object, now: object) -> str:
    """The first field that differs."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return ""
    return next((key for key in now if before.get(key) != now[key]), "")
