"""What a liar costs, on a real cluster: rows that say what happened."""

import pytest

from bench import live_liars

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(180)]


async def test_a_liar_that_has_to_be_kept_costs_little_where_it_is_asked_twice() -> None:
    """Twelve workers for twelve slots: it is found in most groups, and stays."""
    rows = [row async for row in live_liars.measure("digits", 12, 0.4, 240, seed=0)]
    honest, lying = rows
    assert (honest["law"], lying["law"]) == (None, "sign-flip")
    assert honest["lies"] == 0
    assert lying["lies"] >= 0.8 * 30
    assert lying["results"] >= lying["lies"]
    assert lying["others"] <= 3
    assert not lying["is_quarantined"]
    assert lying["tasks"] >= 12 * 30 + lying["lies"]
    assert lying["accuracy"] > honest["accuracy"] - 0.05
    assert all(len(live_liars.cells(row)) == len(live_liars.TITLES) for row in rows)
