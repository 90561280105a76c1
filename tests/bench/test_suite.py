"""Everything in sequence: its steps are commands, and what is done is not done again."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bench import suite, suite_document
from bench.__main__ import app
from bench.suite import Step, done, run, steps, took_s
from support.sweeps import sweep_file

BENCH = Path(suite.__file__).parent
runner = CliRunner()


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
def test_every_step_is_a_command_with_flags_that_it_takes(step: Step) -> None:
    group = get_command(app)
    name, *arguments = step.words
    command = group.commands[name]  # type: ignore[attr-defined]
    with command.make_context(name, arguments) as context:
        assert context.params


def test_steps_have_names_of_their_own_and_places_in_a_document() -> None:
    names = [step.name for step in steps()]
    assert len(names) == len(set(names))
    table = suite_document.commands_table()
    for step in steps():
        assert f"`python -m bench {step.command}`" in table


def test_what_wins_is_told_of_every_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep_file(tmp_path / "losses.jsonl", lost=(0, 2))
    monkeypatch.setattr(suite_document, "RESULTS", tmp_path)
    told, _, *table = suite_document.what_wins().splitlines()
    rows = table[2:]
    assert ["2 of them dead" in row for row in rows] == [False, True]
    assert all("coding" in row or "a tie" in row for row in rows)
    behind = sum("coding does not pay" in row for row in rows)
    assert told.startswith("Of 2 points ")
    assert told.endswith(f"behind at {behind}.")


def test_all_is_every_command_that_keeps_records_every_table_and_every_plan() -> None:
    """But for what needs a further package. Plans that the step `parm` runs together are swept in
    virtual time only."""
    group = get_command(app)
    keeping = {
        name
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        if any(one.name in ("save", "record") for one in command.params)
    }
    tables, plans = ({file.stem for file in (BENCH / folder).iterdir()}
                     for folder in ("tables", "plans"))  # fmt: skip
    words = [step.words for step in steps()]
    assert {name for name, *_ in words} == keeping
    assert {rest[0] for name, *rest in words if name == "tables"} == tables
    assert {rest[0] for name, *rest in words if name == "sweep"} == plans
    for name, *rest in words:
        if name == "sweep" and rest[0].startswith("parm-"):
            assert "--simulated" in rest


def test_no_such_step_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="there are: coding"):
        steps("nothing")


def _step(name: str, code: str) -> Step:
    return Step(name=name, command=f"-c {shlex.quote(code)}", records="x", shown="x")


def test_a_broken_off_sequence_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended well is not repeated; what ended badly is, and ends nothing else."""
    ran, log = tmp_path / "ran", tmp_path / "out" / "log.jsonl"
    ok = f"open({str(ran)!r}, 'a').write('x')"
    wanted = [_step("bad", "raise SystemExit(3)"), _step("good", ok)]
    monkeypatch.setattr(suite, "BENCH", [sys.executable])
    said: list[str] = []
    assert run(wanted, log, said.append) == wanted[:1]
    assert run(wanted, log, said.append) == wanted[:1]
    assert ran.read_text() == "x"
    assert said[-1] == "good: done before"
    assert done(log) == {("good", wanted[1].command)}
    ended = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["name"], one["status"]) for one in ended] == [("bad", 3), ("good", 0), ("bad", 3)]
    assert all(one["machine"] and one["seconds"] >= 0 for one in ended)
    changed = [_step("good", ok + "; None")]  # another command is another measurement
    run(changed, log, said.append)
    assert ran.read_text() == "xx"
    run(changed, log, said.append, again=True)
    assert ran.read_text() == "xxx"


def test_what_ended_badly_the_last_time_is_not_done(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    ended = [{"name": name, "command": "c", "status": status}
             for name, status in (("a", 0), ("b", 0), ("a", 1))]  # fmt: skip
    log.write_text("".join(json.dumps(one) + "\n" for one in ended))
    assert done(log) == {("b", "c")}


def test_how_long_runs_took_is_summed() -> None:
    def record(run: str, time: str) -> dict[str, str]:
        return {"run": f"2026-01-01T{run}+00:00", "time": f"2026-01-01T{time}+00:00"}

    found = [record("10:00:00", "10:00:30"), record("10:00:00", "10:01:00"),
             record("12:00:00", "12:00:05")]  # fmt: skip
    assert took_s(found) == 65


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, "–"), (119.0, "119 s"), (120.0, "2 min"), (7199.0, "120 min"), (7200.0, "2.0 h")],
)
def test_how_long_it_took_is_told_in_the_unit_that_suits(
    seconds: float, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite_document, "took_s", lambda found: seconds)
    assert f"| {told} |" in suite_document.commands_table()


def test_the_list_says_what_would_run(tmp_path: Path) -> None:
    told = runner.invoke(app, ["all", "--list", "--only", "f*", "--out", str(tmp_path)])
    assert told.exit_code == 0
    assert "fuzz: to do: python -m bench fuzz" in told.stdout
    assert not list(tmp_path.iterdir())


def test_a_list_of_everything_again_forgets_nothing(tmp_path: Path) -> None:
    """Nor does one step again forget what is done of the others."""
    (fuzz,) = steps("fuzz")
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"name": "fuzz", "command": fuzz.command, "status": 0}) + "\n")
    flags = ("all", "--list", "--only", "fuzz", "--out", str(tmp_path))
    assert "fuzz: done" in runner.invoke(app, [*flags]).stdout
    assert "fuzz: to do" in runner.invoke(app, [*flags, "--again"]).stdout
    assert "fuzz: done" in runner.invoke(app, [*flags]).stdout
