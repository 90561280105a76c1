"""Settings: every refusal names file, line and field, and what is accepted."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kofn.settings import SettingsError, parse_yaml, read_yaml


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Batching(Strict):
    max_groups: int = Field(default=16, gt=0)
    max_delay_ms: float = 2.0


class Deployment(Strict):
    name: str
    wait: Literal["first", "soft", "all"] = "soft"
    batching: Batching | None = None


class Parity(Strict):
    kind: Literal["parity"]
    k: int


class Berrut(Strict):
    kind: Literal["berrut"]
    k: int
    slot_points: int = 0

    @model_validator(mode="after")
    def _relation(self) -> "Berrut":
        if self.slot_points > 100:
            raise ValueError("slot_points must be at most 100.")
        return self


class Settings(Strict):
    workers: list[str] = []
    deployments: list[Deployment] = []
    code: Annotated[Parity | Berrut, Field(discriminator="kind")] | None = None
    named: dict[str, Batching] = {}


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_yaml(text, Settings, source="f.yaml")
    return str(caught.value)


def test_values_are_taken() -> None:
    text = """
workers: [a:1, b:2]
deployments:
  - {name: x, wait: all, batching: {max_groups: 3}}
code: {kind: berrut, k: 4}
"""
    settings = parse_yaml(text, Settings)
    assert settings.workers == ["a:1", "b:2"]
    assert settings.deployments[0].batching == Batching(max_groups=3)
    assert settings.code == Berrut(kind="berrut", k=4)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "null"])
def test_an_empty_file_is_all_defaults(text: str) -> None:
    assert parse_yaml(text, Settings) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "workers: []\ndeployments:\n  - name: x\n    batching:\n      max_groups: 0\n",
            "f.yaml:5: deployments[0].batching.max_groups: must be greater than 0, not 0.",
        ),
        (
            "deployments:\n  - name: x\n\n    wiat: all\n",
            "f.yaml:4: deployments[0].wiat: is no key here; did you mean 'wait'?; "
            "accepted: batching, name, wait.",
        ),
        ("zzz: 1\n", "f.yaml:1: zzz: is no key here; accepted: code, deployments, named, workers."),
        ("deployments:\n  - {}\n", "f.yaml:2: deployments[0].name: must be given."),
        (
            "deployments:\n- name: x\n- name: y\n  wait: never\n",
            "f.yaml:4: deployments[1].wait: must not be 'never'; "
            "accepted: 'first', 'soft' or 'all'.",
        ),
        (
            "\ncode:\n  kind: parity\n  k: many\n",
            "f.yaml:4: code.k: must be a valid integer, unable to parse string as an integer, "
            "not 'many'.",
        ),
        (
            "code:\n  kind: party\n",
            "f.yaml:1: code: must not be 'party'; accepted: 'parity', 'berrut'.",
        ),
        ("code:\n  kind: berrut\n", "f.yaml:1: code.k: must be given."),
        (
            "code:\n  kind: berrut\n  k: 1\n  slot_point: 1\n",
            "f.yaml:4: code.slot_point: is no key here; did you mean 'slot_points'?; "
            "accepted: k, kind, slot_points.",
        ),
        (
            "code:\n  kind: berrut\n  k: 1\n  slot_points: 101\n",
            "f.yaml:1: code: slot_points must be at most 100.",
        ),
        (
            "named:\n  a: {max_groups: 1}\n  b: {max_group: 1}\n",
            "f.yaml:3: named.b.max_group: is no key here; did you mean 'max_groups'?; "
            "accepted: max_delay_ms, max_groups.",
        ),
        (
            "workers: []\ncode: null\nworkers: [a]\n",
            "f.yaml:3: workers: must be given once; it stands in line 1 already.",
        ),
        ("- a\n- b\n", "f.yaml:1: must be a mapping of keys to values."),
        ("\n\nhello", "f.yaml:3: must be a mapping of keys to values."),
    ],
)
def test_a_refusal_names_line_field_and_choice(text: str, said: str) -> None:
    assert refusal(text) == said


def test_all_refusals_are_told_in_the_order_of_the_file() -> None:
    told = refusal("deployments:\n  - wait: x\n  - name: 1\nworkers: 3\nfoo: 1\n").splitlines()
    assert [line.split(": ")[:2] for line in told] == [
        ["f.yaml:2", "deployments[0].name"],
        ["f.yaml:2", "deployments[0].wait"],
        ["f.yaml:3", "deployments[1].name"],
        ["f.yaml:4", "workers"],
        ["f.yaml:5", "foo"],
    ]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("workers: [a\ncode: 1\n", 2, "YAML"),
        ("workers:\n\t- a\n", 2, "YAML"),
        ("a: 1\n---\nb: 2\n", 2, "single document"),
        ("workers: []\ncode: !!python/object/apply:os.getcwd []\n", 2, "python/object"),
        ("workers: []\ncode: !Mine {}\n", 2, "!Mine"),
        ("a: *missing\n", 1, "missing"),
        ("workers: []\n\ncode: 2026-13-45\n", 3, "month"),
        ("a: 1\nb: \x00\n", 2, "special characters"),
        ("code: null\nworkers: &again\n  - *again\n", 2, "itself"),
        ("workers:\n  ? [a]\n  : 1\n", 2, "unhashable"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(text: str, line: int, word: str) -> None:
    told = refusal(text)
    assert told.startswith(f"f.yaml:{line}: ")
    assert word in told


def test_aliases_and_merges_work() -> None:
    text = "named:\n  a: &a {max_groups: 2}\n  b: *a\n  c: {<<: *a, max_delay_ms: 1}\n"
    named = parse_yaml(text, Settings).named
    assert named == {
        "a": Batching(max_groups=2),
        "b": Batching(max_groups=2),
        "c": Batching(max_groups=2, max_delay_ms=1),
    }


def test_a_merged_value_is_found_where_it_stands() -> None:
    text = "named:\n  a: &a\n    max_groups: 0\n  b:\n    <<: *a\n"
    assert [line.split(": ")[0] for line in refusal(text).splitlines()] == ["f.yaml:3"] * 2


def test_a_file_that_unfolds_beyond_reason_is_refused() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "must unfold to at most" in refusal("\n".join(rows))


def test_a_file_nested_too_deeply_is_refused() -> None:
    assert "nested too deeply" in refusal("workers: " + "[" * 5000 + "]" * 5000)


def test_a_long_value_is_not_repeated_whole() -> None:
    assert len(refusal(f"code: {{kind: parity, k: {'x' * 10_000}}}")) < 400


def test_a_file_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "master.yaml"
    path.write_text("workers: [ä]\n", encoding="utf-8")
    assert read_yaml(path, Settings).workers == ["ä"]
    path.write_text("workers: 1\n")
    with pytest.raises(SettingsError, match=r"master\.yaml:1: workers: "):
        read_yaml(path, Settings)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml", Settings)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"workers: [\xe4]\n")
    with pytest.raises(SettingsError, match=r"latin\.yaml: must be UTF-8"):
        read_yaml(path, Settings)
