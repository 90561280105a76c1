"""Plans: what they unfold to, and that bad ones are refused by their line."""

from pathlib import Path

import pytest

from bench.sweep.plan import PLANS, read_plan
from kofn.settings import SettingsError
from support.plans import GOOD, write


def test_a_plan_unfolds_to_points_and_systems(tmp_path: Path) -> None:
    """All axes crossed, workers outermost; policies and thresholds make systems of their own."""
    plan = read_plan(write(tmp_path, GOOD))
    assert len(plan.points) == 2 * 2 * 2 * 2
    assert plan.points[0].name == "workers=4 lost=0 straggler=none load=10"
    assert plan.points[-1].name == "workers=6 lost=1 straggler=slow load=20.5"
    assert [point.workers for point in plan.points] == [4] * 8 + [6] * 8
    systems = {system.name: system for system in plan.systems(6)}
    assert list(systems) == [
        "uncoded", "parity patient", "parity quick", "berrut R=2", "berrut R=3", "shipped",
    ]  # fmt: skip
    parity, berrut = systems["parity quick"].deployment, systems["berrut R=3"].deployment
    assert parity is not None
    assert berrut is not None
    assert (parity.code.parameters["n"], parity.policy.wait) == (6, "first")
    assert parity.program == "digits-lenet"
    assert berrut.policy.recovery_threshold == 3
    assert systems["berrut R=3"].family == "berrut"
    names = {system.deployment.name for system in systems.values() if system.deployment}
    assert len(names) == len(systems)


def test_another_data_set_and_other_seconds_are_another_plan(tmp_path: Path) -> None:
    """The data set stands in names, and systems that cannot be had for it are left out."""
    path = write(tmp_path, GOOD)
    plain, other = read_plan(path), read_plan(path, dataset="mnist")
    longer = read_plan(path, seconds=9.0)
    assert other.text.model == "mnist-lenet"
    assert [s.name for s in other.systems(4)][-1] == "berrut R=3"
    assert longer.text.seconds == 9
    assert len({plain.hash, other.hash, longer.hash}) == 3
    assert plain.hash == read_plan(path).hash


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("name: parity,", "name: party,", 15, "parity"),
        ("k: 2, n: 4}", "k: 5, n: 4}", 16, "k"),
        ("n: workers", "n: 1", 15, "n"),
        ("law: expon", "law: expo", 9, "scipy.stats"),
        ("scale_ms: 5", "scale_ms: -5", 9, "greater than 0"),
        ("n: 4}", "n: 5}", 16, "n = 5 slots need as many workers, not 4"),
        ("thresholds: [2, 3]", "thresholds: [2, 7]", 16, "recovery_threshold"),
        ("lost: [0, 1]", "lost: [0, 4]", 5, "must leave one of 4 workers alive"),
        ("dataset: digits", "dataset: digit", 2, "must be one of"),
        ("workers: [4, 6]", "workers: []", 4, "at least 1"),
        ("loads: [10, 20.5]", "loads: [0]", 6, "greater than 0"),
        ("loads: [10, 20.5]", "load: [10]", 6, "did you mean 'loads'"),
        ("{wait: all}", "{wait: none}", 15, "accepted: 'first', 'soft', 'all'"),
        ("uncoded: {baseline", "uncoded: {ray: true, baseline", 14, "one of 'code' and 'ray"),
        ("code: {name: uncoded, k: 2}, ", "", 14, "one of 'code' and 'ray"),
        ("  none: {}", "  none: {delay: {law: trace, file: gone.txt}}", None, "gone.txt"),
    ],
)
def test_a_bad_plan_is_refused_by_its_line(
    tmp_path: Path, old: str, new: str, line: int | None, what: str
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SettingsError) as refused:
        read_plan(path)
    told = str(refused.value)
    assert what in told
    assert line is None or f"{path}:{line}: " in told


def test_a_plan_that_is_not_there_is_told_with_the_ready_ones() -> None:
    with pytest.raises(SettingsError, match=r"no such plan; ready ones: .*worker-counts"):
        read_plan(Path("worker-count"))


READY = sorted(path.stem for path in PLANS.glob("*.yaml"))


@pytest.mark.parametrize("dataset", ["digits", "mnist", "fashion-mnist"])
@pytest.mark.parametrize("name", READY)
def test_the_ready_plans_are_good_and_have_all_baselines(name: str, dataset: str) -> None:
    """At every number of workers: uncoded, replication, hedged, backup, and a code."""
    plan = read_plan(Path(name), dataset=dataset)
    assert plan.text.name == name
    for workers in plan.text.workers:
        systems = plan.systems(workers)
        baselines = {system.family for system in systems if system.text.baseline}
        assert {"uncoded", "replication", "hedged", "backup"} <= baselines
        assert any(not system.text.baseline for system in systems)
