"""Steps that act from outside: what they may say, and how a mistake is told."""

import pytest

from kofn.chaos import KINDS
from kofn.settings import SettingsError, parse_yaml
from worker.scenario import Scenario

STEPS = """
name: both
steps:
  - {at_s: 0, faults: {delay: {law: constant, value_ms: 5}}}
  - {at_s: 1, workers: [a], action: {kind: pause}}
  - {at_s: 2, workers: [a], action: {kind: unpause}}
  - {at_s: 3, workers: {count: 1}, action: {kind: limit-cpu, cpus: 0.5}}
"""


def test_faults_and_actions_share_a_timeline() -> None:
    """Each step is one of the two, and chooses its workers in the same way."""
    scenario = parse_yaml(STEPS, Scenario)
    actions = [step.action for step in scenario.steps]
    assert actions[0] is None
    told = [(action.kind, action.cpus) for action in actions if action is not None]
    assert told == [("pause", None), ("unpause", None), ("limit-cpu", 0.5)]
    assert scenario.due(1, ["a", "b"]) == ("a",)
    assert len(scenario.due(3, ["a", "b"])) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_accepted(kind: str) -> None:
    """What can be done by hand can stand in a file."""
    cpus = ", cpus: 1" if kind == "limit-cpu" else ""
    text = f"name: a\nsteps: [{{at_s: 0, action: {{kind: {kind}{cpus}}}}}]"
    (step,) = parse_yaml(text, Scenario).steps
    assert step.action is not None
    assert step.action.kind == kind


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (
            "action: {kind: freeze}",
            "s.yaml:3: steps[0].action.kind: must not be 'freeze'; accepted",
        ),
        ("action: {}", "s.yaml:3: steps[0].action.kind: must be given"),
        ("action: pause", "s.yaml:3: steps[0].action: must be"),
        ("action: {kind: limit-cpu}", "s.yaml:3: steps[0].action.cpus: must be given"),
        ("action: {kind: limit-cpu, cpus: 0}", "steps[0].action.cpus: must be greater than or"),
        ("action: {kind: limit-cpu, cpus: many}", "steps[0].action.cpus: must be a valid number"),
        ("action: {kind: pause, cpus: 1}", "steps[0].action.cpus: is no key here"),
        ("action: {kind: pause, for_s: 1}", "steps[0].action.for_s: is no key here"),
        ("{action: {kind: pause}, faults: {}}", "must have 'faults' or 'action', not both"),
    ],
)
def test_mistakes_name_line_and_field(step: str, told: str) -> None:
    """And what is accepted."""
    given = step if step.startswith("{") else f"{{{step}}}"
    text = f"name: a\nsteps:\n  - {{at_s: 0, {given[1:]}"
    with pytest.raises(SettingsError) as caught:
        parse_yaml(text, Scenario, source="s.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
