"""Accuracy on the live cluster: counted right, and a real run of it."""

import numpy as np
import pytest
import torch

from bench.live_accuracy import compared, measure_all
from bench.load.seen import Seen
from kofn.wire.source import Source
from models.cards import proportion
from models.data import DataSet
from training.measure import Worth

DIRECT, DECODED, MISSING = Source.DIRECT, Source.DECODED, Source.MISSING

pytestmark = pytest.mark.long


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
    seen = Seen(
        rows=np.arange(10).reshape(2, 5),
        late_s=np.zeros(2),
        latency_s=np.full(2, 0.1),
        source=source.reshape(2, 5),
        outputs=np.eye(2, dtype=np.float32)[predictions].reshape(2, 5, 2),
        responders=np.full(2, 4.0),
    )
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
