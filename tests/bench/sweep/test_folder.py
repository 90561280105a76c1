"""The folder of a sweep: what is finished is kept, what is half written or another's is not."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.sweep.folder import Folder, FolderError
from bench.sweep.plan import Plan, read_plan
from bench.sweep.record import RecordError
from support.plans import GOOD, record, write

SYSTEMS: Mapping[str, list[str]] = {"p": ["a", "b"], "q": ["a", "b"]}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return read_plan(write(tmp_path, GOOD))


def test_finished_points_are_known_when_it_is_opened_again(tmp_path: Path, plan: Plan) -> None:
    with Folder(tmp_path / "out", plan, SYSTEMS) as folder:
        assert folder.finished() == set()
        folder.add([record("p", "a"), record("p", "b", measured=None, failure="why")])
    with Folder(tmp_path / "out", plan, SYSTEMS) as folder:
        assert folder.finished() == {"p"}
        folder.add([record("q", "a"), record("q", "b")])
        assert [one.point for one in folder.records()] == ["p", "p", "q", "q"]


@pytest.mark.parametrize("cut", [1, 100, "a line"])
def test_a_point_that_was_half_written_is_measured_again(
    tmp_path: Path, plan: Plan, cut: int | str
) -> None:
    """Wherever the writing stopped."""
    with Folder(tmp_path / "out", plan, SYSTEMS) as folder:
        folder.add([record("p", "a"), record("p", "b")])
        whole = folder.cells.read_text()
        folder.add([record("q", "a"), record("q", "b")])
        text = folder.cells.read_text()
    last = len(text.splitlines(keepends=True)[-1])
    folder.cells.write_text(text[: -(last if cut == "a line" else int(cut))])
    with Folder(tmp_path / "out", plan, SYSTEMS) as folder:
        assert folder.finished() == {"p"}
        assert folder.cells.read_text() == whole


@pytest.mark.parametrize("other", [{"machine": "two"}, {"run": "another"}])
def test_a_point_of_two_machines_or_runs_is_measured_again(
    tmp_path: Path, plan: Plan, other: dict[str, str]
) -> None:
    with Folder(tmp_path / "out", plan, SYSTEMS) as folder:
        folder.add([record("p", "a"), record("p", "b", **other)])
        folder.add([record("q", "a", **other), record("q", "b", **other)])
    with Folder(tmp_path / "out", plan, SYSTEMS) as folder:
        assert folder.finished() == {"q"}


def test_a_folder_of_another_plan_is_refused(tmp_path: Path, plan: Plan) -> None:
    with Folder(tmp_path / "out", plan, SYSTEMS):
        pass
    other = read_plan(tmp_path / "plan.yaml", seconds=9.0)
    with pytest.raises(FolderError, match=r"another content \(seconds\)"):
        Folder(tmp_path / "out", other, SYSTEMS).__enter__()
    with Folder(tmp_path / "out", plan, SYSTEMS):
        pass  # the refusal changed nothing


def test_a_folder_of_something_else_is_refused(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(FolderError, match=r"holds 'thesis.tex'"):
        Folder(tmp_path / "out", plan, SYSTEMS).__enter__()


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path, plan: Plan) -> None:
    with (
        Folder(tmp_path / "out", plan, SYSTEMS),
        pytest.raises(FolderError, match="another sweep"),
    ):
        Folder(tmp_path / "out", plan, SYSTEMS).__enter__()


def test_records_that_cannot_be_read_are_not_thrown_away(tmp_path: Path, plan: Plan) -> None:
    with Folder(tmp_path / "out", plan, SYSTEMS) as folder:
        folder.add([record("p", "a"), record("p", "b")])
        folder.cells.write_text(folder.cells.read_text() + "{}\n")
    before = folder.cells.read_text()
    with pytest.raises(RecordError, match=r"cells.jsonl:3"):
        Folder(tmp_path / "out", plan, SYSTEMS).__enter__()
    assert folder.cells.read_text() == before
