"""Accuracy on the live cluster: counted right, and a real run of it."""

import numpy as np
import pytest
import torch

from bench.live_accuracy import compared, measure_all
from bench.load import Observation
from kofn.wire.source import Source
from models.cards import proportion
from models.data import DataSet
from training.measure import Worth

DIRECT, DECODED, MISSING = Source.DIRECT, Source.DECODED, Source.MISSING


def worth(lost_only: float) -> Worth:
    share = proportion(round(1000 * lost_only), 1000)
    clean = proportion(900, 1000)
    return Worth(clean, share, share, share, share, share, groups=1, by_query=torch.zeros(1))


def test_answers_are_counted_by_where_they_came_from() -> None:
    """Ten queries: seven of their own workers, two decoded, one lost for good."""
    labels = torch.arange(10) % 2
    test = DataSet("a", "a", "", torch.zeros(10, 1, 2, 2), labels, ("x", "y"))
    source = np.array([DIRECT] * 7 + [DECODED, DECODED, MISSING], np.uint8)
    predictions = labels.numpy().copy()
    predictions[[0, 7]] ^= 1  # one of its own worker and one decoded are wrong
    seen = [
        Observation(np.arange(5), 0.1, source[:5], predictions[:5]),
        Observation(np.arange(5, 10), 0.1, source[5:], predictions[5:]),
    ]
    found = compared(seen, test, worth(0.8))
    assert found["reconstructed"] == pytest.approx(0.3)
    assert (found["decoded"], found["missing"]) == (2, 1)
    assert found["lost_only"] == 0.5
    assert found["overall"] == pytest.approx((6 + 1 + 0.5) / 10)
    assert found["formula"] == pytest.approx(0.7 * 0.9 + 0.3 * 0.8)


@pytest.mark.cluster
@pytest.mark.timeout(120)
async def test_a_trained_code_under_stragglers() -> None:
    """The shipped student of digits: some answers are decoded, none is missing."""
    load = measure_all(["digits-lenet.backup-k4-r1"], [0.1], rate=60, passes=1, seed=0)
    (row,) = [row async for row in load]
    assert row["queries"] == 356
    assert row["missing"] == 0
    assert row["decoded"] > 0
    assert row["overall"] > 0.9
    assert abs(row["difference_points"]) < 5
