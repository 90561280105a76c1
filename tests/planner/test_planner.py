"""What is searched, what it is worth, and what is said of it."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from kofn.settings import read_yaml
from master.config import MasterConfig
from models.cards import Card
from models.store import Store
from planner.advice import advice
from planner.candidates import Candidate
from planner.search import Conditions, Found, Plan, Wish, search
from planner.worth import Worth, of_base, of_mixes, of_trained
from planner.writing import deployment_file, sources, write
from report.cells import Cell
from simulator import Outcome, Poisson, Setting, Workers
from worker.faults_text import parse_faults
from worker.laws import Constant

MODEL = "digits-lenet"
STRAGGLERS = "{delay: {law: constant, value_ms: 200, probability: 0.1}}"
WISH = Wish(0.05, 0.9, 0.9)
FARTHER = Wish(0.15, 0.92, 0.9)  # than a tenth of stragglers, which chance may make less


def _some(able: Sequence[Candidate], *starts: str) -> list[Candidate]:
    """The uncoded one, and the first of each kind that begins so."""
    rest = [next(one for one in able if one.title.startswith(start)) for start in starts]
    return [able[0], *rest]


def _search(able: Sequence[Candidate], wish: Wish, straggler: str = "{}", **load: float) -> Found:
    faults = parse_faults(straggler).laws()
    rows = int(load.get("worker_rows", 256))
    workers = (Workers(int(load.get("workers", 6)), Constant(0.005), faults, max_rows=rows),)
    return search(able, Conditions(workers, Poisson(load.get("rate", 60.0))), wish, 300)


def test_cheaper_slots_and_a_stem_are_in_the_cost(able: list[Candidate]) -> None:
    backup, split = _some(able, "backup, k = 4", "split-lagrange, k = 4, n = 6")[1:]
    for one in (backup, split):
        found = _search([able[0], one, replace(one, work={})], WISH, rate=200.0)
        cheap, dear = found.plans[1:]
        assert cheap.worker_s < 0.98 * dear.worker_s
        assert dear.master_s == 0.0
        assert (cheap.master_s > 0.0) == (one is split)
        assert cheap.cost_s == cheap.worker_s + cheap.master_s


def test_mixes_are_worth_what_was_measured_of_their_very_programs(
    store: Store, measured: list[Cell]
) -> None:
    base, card = of_base(store.card(MODEL)), store.codes.card(f"{MODEL}.split-lagrange-k4")
    worth = of_mixes(base, card, 6, 5, measured)
    assert worth is not None
    (cell,) = [
        cell for cell in measured
        if cell.record.get("programs") == card.programs and cell.system == "split-lagrange"
        and (cell.n, cell.waited) == (6, 5)
    ]  # fmt: skip
    assert worth.decoded == cell.overall
    others = replace(card, programs={**card.programs, "stem": "0" * 64})
    assert of_mixes(base, others, 6, 5, measured) is None
    of_card = of_mixes(base, card, 10, 9, [])
    assert of_card is not None
    assert of_card.decoded == card.metrics["lost_only"].value


def test_decoded_answers_are_worth_the_least_that_was_measured(store: Store) -> None:
    base, card = of_base(store.card(MODEL)), store.codes.card(f"{MODEL}.backup-k4-r1")
    metric = card.metrics["lost_only"]
    worse = replace(metric, value=0.5)
    two = replace(card, metrics={"lost_only": metric, "lost_only_2_lost": worse})
    one_lost, two_lost = of_trained(base, two, 1), of_trained(base, two, 2)
    assert one_lost is not None
    assert two_lost is not None
    assert (one_lost.decoded, two_lost.decoded) == (metric.value, 0.5)
    assert of_trained(base, replace(card, metrics={}), 1) is None


def test_accuracy_is_weighed_by_kinds_of_answers() -> None:
    worth = Worth(0.9, 0.5, 10, "a card")
    assert worth.overall(0.8, 0.15, 0.05) == pytest.approx(0.72 + 0.075 + 0.005)


def test_a_model_without_a_test_accuracy_is_refused(store: Store) -> None:
    card: Card = replace(store.card(MODEL), metrics={})
    with pytest.raises(ValueError, match="no test_accuracy"):
        of_base(card)


@pytest.mark.parametrize(
    ("wish", "named"),
    [((0.0, 0.9, 0.9), "SLO"), ((0.1, 1.0, 0.9), "quantile"), ((0.1, 0.9, 1.1), "floor")],
)
def test_wishes_that_nothing_could_meet_are_refused(
    wish: tuple[float, float, float], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        Wish(*wish)


def _told(outcome: Outcome, monkeypatch: pytest.MonkeyPatch, able: Sequence[Candidate]) -> Plan:
    """What a search makes of an outcome: of p90, requests of two queries."""

    def simulated(setting: Setting) -> Outcome:
        assert setting.rows == 2
        return outcome

    monkeypatch.setattr("planner.search.simulate", simulated)
    load = Conditions((Workers(6),), Poisson(60.0), rows=2)
    return search(able[:1], load, WISH, 300).plain


def test_what_is_refused_or_missing_has_not_kept_to_the_slo(
    able: list[Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome("events", 6, requests=100, queries=200, direct=200)
    outcome.latency.add_all(np.arange(1, 101) / 100)
    assert _told(outcome, monkeypatch, able).tail_s == pytest.approx(0.9, rel=0.01)
    outcome.refused = 5  # so that p90 of all is p94.7 of those that were let in
    assert _told(outcome, monkeypatch, able).tail_s == pytest.approx(0.947, rel=0.01)
    outcome.refused = 10
    assert _told(outcome, monkeypatch, able).tail_s == inf
    outcome.refused, outcome.direct, outcome.missing = 0, 180, 20
    assert _told(outcome, monkeypatch, able).tail_s == inf


def test_without_stragglers_nothing_is_coded(able: list[Candidate]) -> None:
    found = _search(_some(able, "backup", "replication"), WISH)
    assert found.chosen is found.plain
    assert next(advice(found, WISH)).startswith("Do not code: uncoded meets p90 of 50 ms")


def test_a_code_is_chosen_where_the_tail_wants_it(able: list[Candidate]) -> None:
    some = _some(able, "backup, k = 2")
    found = _search(some, FARTHER, STRAGGLERS)
    assert found.chosen is not None
    assert found.chosen.candidate is some[1]
    assert found.plain.tail_s > FARTHER.slo_s >= found.chosen.tail_s
    lines = list(advice(found, FARTHER))
    assert "backup, k = 2, n = 3" in lines[0]
    assert "times the SLO" in lines[1]
    assert "coin" in lines[-1]


def test_hedging_is_no_code(able: list[Candidate]) -> None:
    hedged = [able[0], *(one for one in able if one.deployment.policy.hedge == "2*p50")]
    found = _search(hedged, FARTHER, STRAGGLERS)
    assert found.chosen is not None
    assert found.chosen.candidate is hedged[1]
    assert next(advice(found, FARTHER)).startswith("No code is needed: uncoded")


def _adaptive(able: Sequence[Candidate], start: str) -> Candidate:
    return next(
        one
        for one in able
        if one.title.startswith(start) and one.deployment.policy.wait == "adaptive"
    )


def test_adaptive_redundancy_is_on_the_front_where_some_straggle(able: list[Candidate]) -> None:
    some = [*_some(able, "backup, k = 2"), _adaptive(able, "backup, k = 2")]
    straggler = "{delay: {law: constant, value_ms: 200, probability: 0.04, interruptible: true}}"
    found = _search(some, Wish(0.05, 0.98, 0.9), straggler)
    plain, static, adaptive = found.plans
    assert adaptive.candidate in [plan.candidate for plan in found.front]
    assert adaptive.tail_s < 0.5 * plain.tail_s
    assert adaptive.cost_s < 0.8 * static.cost_s


def test_adaptive_redundancy_is_not_on_the_front_where_nobody_straggles(
    able: list[Candidate],
) -> None:
    """It pays for groups while it learns that it need not."""
    some = [able[0], _adaptive(able, "backup, k = 2")]
    found = _search(some, WISH)
    assert [plan.candidate for plan in found.front] == [able[0]]


def test_nothing_beats_the_front(able: list[Candidate]) -> None:
    found = _search(_some(able, "backup, k = 2", "replication, k = 1"), WISH, STRAGGLERS)
    points = [(plan.tail_s, -plan.accuracy, plan.cost_s) for plan in found.front]
    for plan, point in zip(found.front, points, strict=True):
        beaten = any(
            all(o <= p for o, p in zip(other, point, strict=True)) and other != point
            for other in points
        )
        assert not beaten or plan is found.plain
    assert found.plain in found.front
    assert all(plan.requests == 5 * 300 for plan in found.front)


def test_where_nothing_meets_the_nearest_is_named(able: list[Candidate]) -> None:
    wish = Wish(0.004, 0.9, 0.9)  # less than the service itself
    found = _search(_some(able, "replication, k = 1"), wish)
    assert found.chosen is None
    said = next(advice(found, wish))
    assert said.startswith("Nothing meets p90 of 4 ms")
    assert found.nearest.candidate.title in said
    assert "times the SLO" in said


def test_what_is_not_accurate_enough_is_not_simulated(able: list[Candidate]) -> None:
    best = max(one.worth.best for one in able)
    wish = Wish(0.05, 0.9, (best + able[0].worth.best) / 2)
    found = _search(_some(able, "backup, k = 2"), wish)
    assert [plan.candidate for plan in found.plans] == [able[0]]
    assert any("Not simulated" in line and "backup" in line for line in advice(found, wish))
    assert "points below the floor" in next(advice(found, wish))


def test_a_full_cluster_is_told(able: list[Candidate]) -> None:
    found = _search(able[:1], WISH, workers=1, rate=20_000.0, worker_rows=1)
    assert found.chosen is None
    assert any("workers are full" in line for line in advice(found, WISH))


def test_the_file_is_what_a_master_reads(able: list[Candidate], tmp_path: Path) -> None:
    found = _search(_some(able, "split-lagrange"), WISH)
    for number, plan in enumerate(found.plans):
        path = tmp_path / f"{number}.yaml"
        command = "kofn plan --slo-ms 50 --straggler '{law: constant,\nvalue_ms: 9}'"
        write(path, deployment_file(plan, WISH, command, 6))
        config = read_yaml(path, MasterConfig)
        assert config.deployments == (plan.candidate.deployment,)
        assert "# kofn plan --slo-ms 50" in path.read_text("utf-8")
    assert sources(found.plans).keys() == {plan.candidate.worth.source for plan in found.plans}
