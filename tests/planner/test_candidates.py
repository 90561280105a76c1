"""What could be served: codes, sizes and policies, and where their accuracies are from."""

from dataclasses import replace

from models.store import Store
from planner.candidates import Candidate, candidates
from report.cells import Cell

MODEL = "digits-lenet"


def test_candidates_can_be_deployed_and_say_where_their_accuracy_is_from(
    able: list[Candidate], store: Store
) -> None:
    kinds = {one.deployment.code.name for one in able}
    assert {"uncoded", "replication", "backup", "split-lagrange"} <= kinds
    assert able[0].title == "uncoded"
    assert able[0].deployment.policy.hedge is None
    for one in able:
        code = one.deployment.code
        assert code.make().n <= 6
        assert one.worth.source
        if code.checkpoint is not None:
            card = store.codes.card(code.checkpoint)
            assert card.base_hash == store.card(MODEL).hash


def test_of_codes_that_lose_and_cost_the_same_the_most_accurate_stands_for_all(
    able: list[Candidate], store: Store
) -> None:
    pairs = {one.title: one.worth.decoded for one in able if one.title.endswith("k = 2, n = 3")}
    rivals = [
        store.codes.card(f"{MODEL}.{code}-k2-r1").metrics["lost_only"].value
        for code in ("parity", "learned")
    ]
    assert pairs["learned, k = 2, n = 3"] == max(rivals)
    assert "parity, k = 2, n = 3" not in pairs
    assert "mosaic, k = 2, n = 3" in pairs  # it answers both queries, whichever are lost


def test_slots_take_what_their_cards_say(able: list[Candidate], store: Store) -> None:
    def work(start: str) -> dict[str, float]:
        return dict(next(one for one in able if one.title.startswith(start)).work)

    assert work("uncoded") == work("replication") == work("learned, k = 2") == {}
    student = store.codes.card(f"{MODEL}.backup-k4-r1").cost
    assert student is not None
    assert work("backup, k = 4") == {"student": student}
    split = store.codes.card(f"{MODEL}.split-lagrange-k4")
    assert work("split-lagrange") == {"trunk": split.cost, "stem": split.stem_cost}


def test_groups_wait_for_company_only_within_the_slo(store: Store) -> None:
    def delays(rate: float, slo_s: float) -> set[float]:
        found = candidates(MODEL, store, 6, rate, slo_s, [])
        return {one.deployment.batching.max_delay_ms for one in found}

    assert delays(100.0, 0.2) == {2.0, 12.0, 36.0}  # 1.2 gaps for k = 2, 3.6 for k = 4
    assert delays(100.0, 0.1) == {2.0, 12.0}
    assert delays(5000.0, 0.2) == {2.0}


def test_students_are_tried_with_a_budget_that_sends_them_at_once(able: list[Candidate]) -> None:
    budgets = {
        (one.deployment.code.parameters["k"], one.deployment.policy.budget)
        for one in able
        if one.deployment.code.name == "backup" and one.deployment.policy.wait == "adaptive"
    }
    assert budgets == {(2, 0.08), (2, 0.58), (4, 0.08), (4, 0.33)}


def test_copies_and_codes_of_mixes_alone_are_not_adaptive(able: list[Candidate]) -> None:
    kinds = {one.deployment.code.name for one in able if one.deployment.policy.wait == "adaptive"}
    assert kinds == {"uncoded", "backup", "learned", "parity", "mosaic"}


def test_untrained_codes_are_those_that_were_measured_on_the_model(
    able: list[Candidate], store: Store, measured: list[Cell]
) -> None:
    untrained = [one for one in able if one.deployment.code.name in {"berrut", "spline"}]
    assert {(one.deployment.code.make().n, one.deployment.policy.recovery_threshold)
            for one in untrained} == {(5, 4), (6, 4), (6, 5)}  # fmt: skip
    for one in untrained:
        code, policy = one.deployment.code, one.deployment.policy
        rivals = [
            cell.overall
            for cell in measured
            if cell.record.get("base_hash") == store.card(MODEL).hash
            and cell.system.split(",")[0] in {"berrut", "spline"}
            and (cell.k, cell.n, cell.waited) == (4, code.make().n, policy.recovery_threshold)
        ]
        assert one.worth.direct == one.worth.decoded == max(rivals)
        assert "bench tables lagrange" in one.worth.source
    assert not candidates(MODEL, store, 3, 100.0, 0.05, measured)[-1].title.startswith("spline")
    others = [replace(cell, record={**cell.record, "base_hash": "0" * 64}) for cell in measured]
    kinds = {one.deployment.code.name for one in candidates(MODEL, store, 6, 100.0, 0.05, others)}
    assert not kinds & {"berrut", "spline"}
