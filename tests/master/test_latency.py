"""Quantiles of a sliding window, against NumPy's."""

import numpy as np
import pytest

from master.latency import Latency


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999, 1000])
@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.95, 1.0])
def test_quantiles_are_those_of_numpy(count: int, q: float) -> None:
    samples = np.random.default_rng(count).exponential(size=count)
    latency = Latency()
    for sample in samples:
        latency.add(float(sample))
    assert latency.count == count
    assert latency.quantile(q) == pytest.approx(float(np.quantile(samples, q)), rel=1e-12)


def test_old_samples_leave_the_window() -> None:
    latency = Latency(window=10)
    for sample in [100.0] * 50 + [1.0] * 10:
        latency.add(sample)
    assert latency.count == 10
    assert latency.quantile(1.0) == 1.0


def test_a_quantile_lags_by_a_sixteenth_of_the_window_at_most() -> None:
    latency = Latency(window=160)
    for _ in range(160):
        latency.add(1.0)
    assert latency.quantile(1.0) == 1.0
    answers = []
    for _ in range(10):
        latency.add(2.0)
        answers.append(latency.quantile(1.0))
    assert answers[0] == 1.0  # not sorted for one sample
    assert answers[-1] == 2.0


def test_nothing_is_known_of_no_samples() -> None:
    assert Latency().quantile(0.5) is None
    assert Latency().count == 0


@pytest.mark.parametrize("duration_s", [-1e-9, float("nan")])
def test_impossible_durations_are_refused(duration_s: float) -> None:
    latency = Latency()
    with pytest.raises(ValueError, match="duration_s"):
        latency.add(duration_s)
    latency.add(0.0)
    assert latency.count == 1


@pytest.mark.parametrize("q", [-0.01, 1.01])
def test_a_quantile_is_in_0_to_1(q: float) -> None:
    with pytest.raises(ValueError, match="'q'"):
        Latency().quantile(q)


def test_a_window_holds_something() -> None:
    with pytest.raises(ValueError, match="window"):
        Latency(window=0)
