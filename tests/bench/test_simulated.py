"""Live beside simulated: what is taken from what was seen, and when the comparison is content."""

import numpy as np
import pytest

from bench.load.seen import Seen
from bench.simulated.against_live import FAST_MS, SLOW_MS, SYSTEMS, _deployment, _overheads, _row
from kofn.wire.source import Source
from master.config import DeploymentConfig
from simulator import Outcome


def seen_of(latency_s: np.ndarray, source: Source = Source.DIRECT) -> Seen:
    m = len(latency_s)
    return Seen(
        rows=np.zeros((m, 1), np.int64),
        late_s=np.zeros(m),
        latency_s=latency_s,
        source=np.full((m, 1), source, np.uint8),
        outputs=np.zeros((m, 1, 10), np.float32),
        responders=np.ones(m),
    )


def test_an_overhead_is_what_remains_of_either_delay() -> None:
    beside = np.array([0.001, 0.004, 0.002])
    delays = np.array([FAST_MS, SLOW_MS, FAST_MS]) / 1e3
    np.testing.assert_allclose(_overheads(seen_of(beside + delays)), beside)


@pytest.mark.parametrize(("factor", "is_within"), [(1.05, True), (1.15, False), (0.8, False)])
def test_a_row_is_within_its_bars_or_not(factor: float, is_within: bool) -> None:
    latency_s = np.random.default_rng(0).lognormal(-4, 0.5, 20_000)
    outcome = Outcome("events", 6, requests=len(latency_s), direct=len(latency_s))
    outcome.latency.add_all(factor * latency_s)
    row = _row(seen_of(latency_s), outcome)
    assert row["is_within"] is is_within
    assert row["p99"]["difference"] == pytest.approx(factor - 1, abs=0.01)
    assert row["decoded"] == {"live": 0.0, "simulated": 0.0}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_can_be_deployed(name: str) -> None:
    config = DeploymentConfig.model_validate(_deployment(name, SYSTEMS[name]))
    assert config.batching.max_groups == 1
