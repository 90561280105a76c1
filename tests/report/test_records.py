"""What is read, and what is refused."""

import json
from pathlib import Path

import pytest

from report.records import provenance, read


def test_files_and_folders_are_read_once_and_tables_are_named(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "a.jsonl").write_text('{"table": "soak", "n": 1}\n\n{"n": 2}\n')
    (inner / "b.jsonl").write_text('{"n": 3}\n')
    found = read([tmp_path / "a.jsonl", tmp_path])
    assert [(record["table"], record["n"]) for record in found] == [("soak", 1), ("a", 2), ("b", 3)]


@pytest.mark.parametrize("line", ["{", "[1]", '"text"'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"n": 1}}\n{line}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2"):
        read([tmp_path])


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no records"):
        read([tmp_path])
    with pytest.raises(FileNotFoundError, match="gone"):
        read([tmp_path / "gone"])


def test_provenance_is_told_once_for_a_command_commit_and_machine() -> None:
    run = {"command": "c", "commit": "abc", "machine": "2 cores"}
    told = provenance(
        [
            {**run, "dirty": False, "time": "2026-11-26T10:00:00"},
            {**run, "dirty": False, "time": "2026-11-27T10:00:00"},
            {**run, "dirty": True, "time": "2026-11-25T10:00:00"},
        ]
    )
    assert [(one.commit, one.date) for one in told] == [
        ("abc+", "2026-11-25"),
        ("abc", "2026-11-27"),
    ]
    assert json.dumps(str(told[1])) == '"`c`, commit abc, 2026-11-27, 2 cores"'
