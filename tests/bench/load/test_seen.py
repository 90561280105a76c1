"""What is said of requests: columns, joined, and whether the generator kept up."""

import numpy as np
import pytest

from bench.load.figures import Kept
from bench.load.seen import LATE_S, Seen
from bench.outcomes import outcome


def seen(late_s: list[float], source: int = 1, error: str = "") -> Seen:
    count = len(late_s)
    return Seen(
        rows=np.arange(count)[:, None],
        late_s=np.array(late_s),
        latency_s=np.array(late_s) + 0.1,
        source=np.full((count, 1), source, np.uint8),
        outputs=np.eye(2, dtype=np.float32)[np.arange(count) % 2][:, None],
        responders=np.full(count, 4.0),
        errors={0: error} if error else {},
    )


def test_a_generator_that_is_late_for_more_than_a_hundredth_did_not_keep_up() -> None:
    late, prompt = 2 * LATE_S, LATE_S / 2
    just, more = seen([late] + 99 * [prompt]), seen([late, late] + 98 * [prompt])
    assert just.kept_up
    assert just.late_share == 0.01
    assert not more.kept_up
    told = Kept.of(more)
    assert (told.kept_up, told.late_share) == (False, 0.02)
    assert told.late_max_ms == pytest.approx(1e3 * late)
    assert told.late_p50_ms == pytest.approx(1e3 * prompt)


def test_joined_keeps_every_column_and_numbers_errors_anew() -> None:
    joined = Seen.joined([seen([0.0, 0.1]), seen([0.2], source=0, error="gone")])
    assert joined.rows.ravel().tolist() == [0, 1, 0]
    assert joined.late_s.tolist() == [0.0, 0.1, 0.2]
    assert joined.errors == {2: "gone"}
    assert joined.is_missing.ravel().tolist() == [False, False, True]
    with pytest.raises(ValueError, match="at least one"):
        Seen.joined([])


def test_an_outcome_counts_guesses_for_what_is_missing() -> None:
    """Two right answers of two, and one that did not come: worth one of two classes."""
    both = Seen.joined([seen([0.0, 0.0]), seen([0.0], source=0)])
    told = outcome(both, np.array([0, 1]), classes=2)
    assert (told.requests, told.queries, told.missing, told.lost) == (3, 3, 1, 1)
    assert told.overall == pytest.approx((1 + 1 + 0.5) / 3)
    assert told.lost_only == 0.5
    assert told.p50_ms == pytest.approx(100)
