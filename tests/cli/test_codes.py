"""`kofn codes`: facts, verdicts with their exit codes, sources."""

import json
from dataclasses import dataclass
from typing import ClassVar, final

import pytest
from typer.testing import CliRunner

import codes
from codes.replication import Replication
from kofn.cli import app

runner = CliRunner()


def test_list_tells_every_code() -> None:
    """As a table, and as JSON with the same facts."""
    table = runner.invoke(app, ["codes", "list"])
    told = json.loads(runner.invoke(app, ["codes", "list", "--json"]).stdout)
    assert table.exit_code == 0
    assert [row["name"] for row in told] == [*codes.REGISTRY, *codes.PRODUCTS]
    for row in told[: len(codes.REGISTRY)]:
        assert row["name"] in table.stdout
        made = codes.make(
            row["name"], **({"k": 4} if row["name"] == "uncoded" else {"k": 4, "n": 6})
        )
        assert row["recovery_threshold"] == made.recovery_threshold
        assert row["exact"] == made.exact


def test_show_tells_losses() -> None:
    """Two losses of parity(4, 6) are always recoverable, three never."""
    told = json.loads(runner.invoke(app, ["codes", "show", "parity", "--json"]).stdout)
    found = {row["lost"]: (row["sets"], row["recoverable"]) for row in told["losses"]}
    assert (found[2], found[3]) == ((15, 15), (20, 0))
    assert told["own_slots"] == [[0], [1], [2], [3]]
    assert runner.invoke(app, ["codes", "show", "parity"]).exit_code == 0


def test_show_tells_liars_and_pads() -> None:
    """Of an exact code, of one that has to be calibrated, and of one that cannot tell."""
    flags = ["--k", "3", "--n", "9", "--set", "degree=2", "--set", "pads=1", "--set", "offset=0.25"]
    told = runner.invoke(app, ["codes", "show", "lagrange", *flags]).stdout
    assert "liars: at most 0; E are named by any 9 + 2 E slots" in told
    assert "pads: 1, of weight 0." in told
    told = runner.invoke(app, ["codes", "show", "lagrange", "--k", "3", "--n", "7"]).stdout
    assert "liars: at most 2; E are named by any 3 + 2 E slots" in told
    assert "pads: 0 (--set pads=T" in told
    told = runner.invoke(app, ["codes", "show", "berrut", "--k", "4", "--n", "8"]).stdout
    assert "liars: calibrated only, at most 2" in told
    facts = json.loads(runner.invoke(app, ["codes", "show", "learned", "--json"]).stdout)
    assert (facts["locates"], facts["pads"]) == (False, 0)


def test_products_tell_both_limits_of_liars() -> None:
    """Any 5 of 9 nodes, two rows each; 4 liars that are wrong for themselves, 2 that agree."""
    grid = [word for axis in "mpn" for word in ("--set", f"blocks_{axis}=2")]
    command = ["codes", "show", "polydot", "--n", "9", *grid]
    facts = json.loads(runner.invoke(app, [*command, "--json"]).stdout)
    assert (facts["recovery_threshold"], facts["rows_needed"], facts["family"]) == (5, 9, "conj")
    assert facts["most_liars"] == {"probable": 4, "adversarial": 2}
    found = {row["lost"]: row for row in facts["losses"]}
    assert (found[4]["recoverable"], found[5]["recoverable"]) == (found[4]["sets"], 0)
    assert found[2]["most_liars"] == {"probable": 2, "adversarial": 1}
    told = runner.invoke(app, command).stdout
    assert "any 5 of 9 nodes" in told
    assert "at most 4 whose errors" in told
    refused = runner.invoke(app, ["codes", "show", "polydot", "--set", "blocks_q=1"])
    assert "blocks_q" in str(refused.exception)


@pytest.mark.parametrize("name", [*codes.REGISTRY, *codes.PRODUCTS])
def test_verify_holds_each_code_to_its_word(name: str) -> None:
    """Exit 0."""
    done = runner.invoke(app, ["codes", "verify", name])
    assert done.exit_code == 0, done.output
    assert "As promised." in done.stdout


@final
@dataclass(frozen=True)
class Boaster(Replication):
    """Claims to need one result fewer than it does."""

    name: ClassVar[str] = "boaster"

    @property
    def recovery_threshold(self) -> int:
        return super().recovery_threshold - 1


def test_verify_tells_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1 for a code that refuses what it promised to decode."""
    monkeypatch.setitem(codes.REGISTRY, "boaster", Boaster)
    done = runner.invoke(app, ["codes", "verify", "boaster", "--json"])
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["refused_wrongly"]


def test_cite_gives_bibtex() -> None:
    """Of the code's source; a code of folklore has none."""
    assert "@inproceedings{kosaian2019," in runner.invoke(app, ["codes", "cite", "parity"]).stdout
    assert "folklore" in runner.invoke(app, ["codes", "cite", "uncoded"]).stdout


def test_wrong_names_and_sizes_are_refused() -> None:
    """With the nearest known one, and what is accepted."""
    unknown = runner.invoke(app, ["codes", "show", "parrity"])
    assert unknown.exit_code != 0
    assert "parity" in str(unknown.exception)
    size = runner.invoke(app, ["codes", "show", "parity", "--k", "7"])
    assert "n" in str(size.exception)
    setting = runner.invoke(app, ["codes", "show", "parity", "--set", "weights"])
    assert setting.exit_code == 2
