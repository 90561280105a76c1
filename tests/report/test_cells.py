"""What records of each table come to as cells: costs, origins, and which of two counts."""

from typing import Any

import pytest
from matplotlib.figure import Figure

from report.cells import DERIVED, GUESS, MEASURED, Cell, cells
from report.contents import contents
from report.theme import LIGHT, Drawing

COSTS = {"stem": 0.25, "worker": 0.5}  # of a split network, in forward passes of the whole


def record(table: str, **others: Any) -> dict[str, Any]:
    known = {"dataset": "digits", "model": "lenet", "code": "code", "k": 4, "n": 6, "lost": 1}
    return {"table": table, **known, "answers": 5, "overall": 0.9, "clean": 0.95, **others}


def by_system(*found: dict[str, Any]) -> dict[str, Cell]:
    return {cell.system: cell for cell in cells(found)}


@pytest.mark.parametrize(
    ("told", "system", "cost"),
    [
        (record("lagrange", costs=COSTS), "code", 0.25 + 6 * 0.5 / 4),
        (record("lagrange"), "code", None),
        (record("cuts", costs=COSTS, cut=2), "code, cut 2", 0.25 + 6 * 0.5 / 4),
        (record("learned-codes", row="r", cost=0.5), "code", (4 + 2 * 0.5) / 4),
        (record("learned-codes", row="r"), "code", None),
        (record("frontier", idea="parity", cost=6.0), "parity", 6.0 / 4),
    ],
)
def test_costs_are_passes_of_the_whole_model_a_query(
    told: dict[str, Any], system: str, cost: float | None
) -> None:
    assert by_system(told)[system].cost == cost


def test_baselines_have_costs_and_origins_of_their_own() -> None:
    backup = {"overall": 0.8, "cost": 0.5}
    split = by_system(
        record("lagrange", costs=COSTS, baselines={"uncoded": {"overall": 0.7}, "backup": backup})
    )
    assert (split[GUESS].cost, split[GUESS].origin) == (1.0, DERIVED)
    assert (split["backup"].cost, split["backup"].origin) == ((4 + 2 * 0.5) / 4, MEASURED)
    learned = by_system(
        record("learned-codes", row="r", baselines={"uncoded": 0.7, "replication": 0.95})
    )
    assert (learned[GUESS].cost, learned["replication"].cost) == (1.0, 6 / 4)
    assert learned["replication"].origin == DERIVED


def test_of_two_decoders_that_counts_which_was_better_in_validation() -> None:
    better = record("learned-codes", row="r", validation=0.8, overall=0.85)
    worse = record("learned-codes", row="r", validation=0.7, overall=0.95)
    for found in ([better, worse], [worse, better]):
        assert by_system(*found)["code"].overall == 0.85


def drawn_heights(drawing: Drawing) -> set[float]:
    """Of all points of its lines."""
    figure = Figure()
    drawing.draw(figure, LIGHT)
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    return {float(height) for line in lines for height in line.get_ydata()}


@pytest.mark.parametrize(("calibrated", "drawn"), [(0.9, 90.0), (0.3, 60.0)])
def test_of_a_calibrated_decoder_and_a_plain_one_the_better_is_drawn(
    calibrated: float, drawn: float
) -> None:
    variants = {"calibrated": {"overall": calibrated}}
    found = [
        record("lagrange", lost=lost, answers=6 - lost, overall=0.6, variants=variants)
        for lost in range(3)
    ]
    (drawing,) = next(s for s in contents(found).sections if s.name == "losses").drawings
    assert list(drawn_heights(drawing)) == pytest.approx([drawn])


def test_what_is_derived_is_not_told_as_measured() -> None:
    known = {"table": "counted", "run": "now", "value": 1.0}
    (derived,) = contents([known | {"origin": DERIVED}]).tables
    (measured,) = contents([known]).tables
    assert (derived.origin, measured.origin) == (DERIVED, MEASURED)
