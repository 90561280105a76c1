"""The simulator gives every closed form again; `python -m bench simulator` does so in full."""

import pytest

from bench.simulated.closed_forms import Case, cases

CASES = {case.name + ": " + case.formula: case for case in cases()}
SHARE = 0.02  # of the draws; tolerances are wider by the square root of it


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_simulator_gives_closed_forms_again(case: Case) -> None:
    row = case.measure(SHARE)
    assert row["is_within"], row
    assert row["method"] != "events"  # these are for the quick methods; events have tests too
