"""Faults and scenarios as texts: both forms the same, every mistake told with its cure."""

from pathlib import Path

import pytest

from kofn.settings import SettingsError, parse_yaml
from worker import faults, laws
from worker.scenario import SCENARIOS, FaultsText, Scenario, parse_faults, read_scenario

WHOLE = """
seed: 7
delay: {law: expon, shift_ms: 20, scale_ms: 100, probability: 0.5, interruptible: true}
failure: {kind: drop, probability: 0.01}
corruption: {law: gaussian, probability: 0.1, scale: 2}
"""
LAWS = {
    "{law: constant, value_ms: 1500}": laws.Constant(1.5),
    "{law: expon, shift_ms: 20, scale_ms: 100}": laws.Expon(0.02, 0.1),
    "{law: pareto, scale_ms: 100, b: 2}": laws.Pareto(0, 0.1, 2),
    "{law: weibull_min, scale_ms: 100, c: 0.7}": laws.WeibullMin(0, 0.1, 0.7),
    "{law: lognorm, scale_ms: 100, s: 1}": laws.Lognorm(0, 0.1, 1),
    "{law: bimodal, slow_ms: 100, slow_probability: 0.1}": laws.Bimodal(0, 0.1, 0.1),
    "{law: bursts, fast_ms: 1, slow_ms: 100, enter_probability: 0.1, leave_probability: 0.5}": (
        laws.Bursts(0.001, 0.1, 0.1, 0.5)
    ),
    "{law: trace, delays_ms: [1, 2.5]}": laws.Trace((0.001, 0.0025)),
    "{law: gamma, a: 2, scale_ms: 10}": laws.Scipy("gamma", {"a": 2}, 0, 0.01),
    "{law: norm, shift_ms: 10, scale_ms: 2}": laws.Scipy("norm", {}, 0.01, 0.002),
}


def test_faults_in_seconds() -> None:
    """What a file says in milliseconds."""
    assert parse_faults(WHOLE).laws() == faults.Faults(
        7,
        faults.Delay(laws.Expon(0.02, 0.1), 0.5, interruptible=True),
        faults.Failure("drop", None, 0.01),
        faults.Corruption("gaussian", 0.1, 2.0),
    )
    assert parse_faults("").laws() == faults.Faults()
    assert parse_faults("failure: {kind: exit, at_s: 3}").laws().failure == faults.Failure(
        "exit", 3.0
    )


@pytest.mark.parametrize("text", LAWS)
def test_every_law(text: str) -> None:
    """Each is read, and its JSON form is read back as the same."""
    read = parse_faults(f"delay: {text}")
    delay = read.laws().delay
    assert delay is not None
    assert delay.law == LAWS[text]
    assert parse_faults(read.json_text()) == read


def test_json_form() -> None:
    """The same object, in either form."""
    for text in (WHOLE, "", "corruption: {law: swap}", "failure: {kind: hang, at_s: 0}"):
        read = parse_faults(text)
        assert parse_faults(read.json_text()) == read


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sede: 1", "sede: is no key here; did you mean 'seed'?"),
        ("seed: -1", "seed: must be greater than or equal to 0"),
        ("seed: '1'", "seed: must be a valid integer"),
        ("delay: {}", "delay.law: must be given"),
        ("delay: {law: expo}", "must not be 'expo'; accepted: constant, expon, pareto"),
        ("delay: {law: rv_continuous}", "must not be 'rv_continuous'; accepted"),
        ("delay: {law: binom, n: 1, p: 1}", "must not be 'binom'; accepted"),
        ("delay: {law: __class__}", "accepted: constant"),
        ("delay: {law: gamma}", "must have the shape parameters ['a'] beside shift_ms and"),
        ("delay: {law: gamma, a: x}", "shape parameter 'a' must be a number, not 'x'"),
        ("delay: {law: gamma, a: -1}", "has no quantiles at {'a': -1}"),
        ("delay: {law: expon}", "delay.scale_ms: must be given"),
        ("delay: {law: expon, scale_ms: 0}", "delay.scale_ms: must be greater than 0, not 0"),
        ("delay: {law: expon, scale_ms: .inf}", "delay.scale_ms: must be a finite number"),
        ("delay: {law: expon, scale_ms: 1, b: 2}", "delay.b: is no key here"),
        ("delay: {law: constant, value_ms: 1, probability: 2}", "delay.probability: must be less"),
        ("delay: {law: constant, value_ms: '5'}", "delay.value_ms: must be a valid number"),
        ("delay: {law: constant, value_ms: 5, interruptible: 1}", "delay.interruptible: must be"),
        ("delay: {law: trace}", "must have one of 'delays_ms' (at least one number) and 'file'"),
        ("failure: {kind: crash, at_s: 1}", "failure.kind: must not be 'crash'; accepted: 'exit'"),
        ("failure: {kind: exit}", "failure: must have one of 'at_s' and 'probability'"),
        ("failure: {kind: exit, at_s: 1, probability: 1}", "must have one of"),
        ("corruption: {law: lie}", "corruption: must not be 'lie'; accepted: 'gaussian'"),
        ("corruption: {law: swap, scale: 1}", "corruption.scale: is no key here"),
    ],
)
def test_mistakes_in_faults(text: str, told: str) -> None:
    """The field, what it must be, what was seen."""
    with pytest.raises(SettingsError) as caught:
        parse_faults(text)
    assert told in str(caught.value)
    assert str(caught.value).startswith("faults:1: ")


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("[]", "steps must have at least one step"),
        ("[{at_s: 1, workers: some}]", "must not be 'some'; accepted: all, [NAME, ...], {count"),
        ("[{at_s: 1, workers: {count: 0}}]", "steps[0].workers.count: must be greater than or"),
        ("[{workers: all}]", "steps[0].at_s: must be given"),
        ("[{at_s: 2}, {at_s: 1}]", "steps must be in order of at_s, not [2.0, 1.0]"),
        ("[{at_s: 0}, {at_s: 1, faults: {delay: {law: constant}}}]", "steps[1].faults.delay.value"),
    ],
)
def test_mistakes_in_scenarios(steps: str, told: str) -> None:
    """The same for files."""
    with pytest.raises(SettingsError) as caught:
        parse_yaml(f"name: a\nsteps: {steps}", Scenario, source="s.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workers_of_a_step() -> None:
    """All of them, those named, or so many by the seed, whatever order they are told in."""
    text = """
name: choice
seed: 3
steps:
  - {at_s: 0}
  - {at_s: 1, workers: [b, a]}
  - {at_s: 2, workers: {count: 2}}
  - {at_s: 3, workers: {count: 2}}
"""
    scenario = parse_yaml(text, Scenario)
    workers = [f"{letter}" for letter in "abcdefgh"]
    assert scenario.due(0, workers[::-1]) == tuple(workers)
    assert scenario.due(1, workers) == ("a", "b")
    chosen = scenario.due(2, workers)
    assert len(set(chosen)) == 2
    assert scenario.due(2, workers[::-1]) == chosen
    assert scenario.due(3, workers) != chosen
    with pytest.raises(ValueError, match="must be of c, d, not a, b"):
        scenario.due(1, ["c", "d"])
    with pytest.raises(ValueError, match=r"steps\[2\].workers.count must be at most 1, .* not 2"):
        scenario.due(2, ["a"])


def test_traces_are_read_where_the_scenario_is(tmp_path: Path) -> None:
    """Beside it; a worker is sent the numbers and refuses a file's name."""
    (tmp_path / "delays.txt").write_text("1\n2.5\n\n300\n")
    path = tmp_path / "s.yaml"
    path.write_text("name: t\nsteps: [{at_s: 0, faults: {delay: {law: trace, file: delays.txt}}}]")
    text = read_scenario(path).steps[0].faults
    delay = text.laws().delay
    assert delay is not None
    assert delay.law == laws.Trace((0.001, 0.0025, 0.3))
    assert parse_faults(text.json_text()) == text
    with pytest.raises(ValueError, match="must be sent as 'delays_ms'"):
        parse_faults("delay: {law: trace, file: delays.txt}").laws()
    for content in ("", "1\nfast\n", "-1"):
        (tmp_path / "delays.txt").write_text(content)
        with pytest.raises(SettingsError, match="one number of milliseconds a line"):
            read_scenario(path)
    (tmp_path / "delays.txt").unlink()
    with pytest.raises(SettingsError, match=r"delays\.txt: cannot be read"):
        read_scenario(path)


def test_the_scenarios_that_come_with_the_package() -> None:
    """Each can be read, is called as its file, and its faults can be injected."""
    paths = sorted(SCENARIOS.glob("*.yaml"))
    assert len(paths) >= 4
    for path in paths:
        scenario = read_scenario(path)
        assert scenario.name == path.stem
        assert scenario.description
        for number, step in enumerate(scenario.steps):
            assert isinstance(step.faults, FaultsText)
            step.faults.laws()
            assert scenario.due(number, [f"worker-{i}" for i in range(6)])
