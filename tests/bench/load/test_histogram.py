"""The histogram of latencies, against sorting them."""

import json
from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.load.figures import Latency
from bench.load.histogram import GROWTH, LOWEST_S, LogHistogram

WITHIN = 0.01001  # half a bin, and rounding

latencies = st.lists(st.floats(LOWEST_S, 1e4), min_size=1, max_size=60)


@given(latencies, st.floats(0, 1))
def test_every_quantile_is_that_of_the_sorted_values(values: list[float], share: float) -> None:
    """To within half a bin; the largest exactly."""
    found = LogHistogram.of(values)
    rank = max(1, ceil(share * len(values) - 1e-9))
    assert found.quantile_s(share) == pytest.approx(sorted(values)[rank - 1], rel=WITHIN)
    assert found.quantile_s(1) == max(values)
    assert found.count == len(values)


@given(latencies)
def test_quantiles_rise_with_their_share(values: list[float]) -> None:
    found = LogHistogram.of(values)
    quantiles = [found.quantile_s(share) for share in np.linspace(0, 1, 41)]
    assert quantiles == sorted(quantiles)


def test_nothing_has_no_quantile() -> None:
    assert LogHistogram.of([]) == LogHistogram()
    assert LogHistogram().count == 0
    with pytest.raises(ValueError, match="no latency"):
        LogHistogram().quantile_s(0.5)


def test_every_bin_holds_what_its_number_says() -> None:
    """At both ends of bins over nine decades."""
    for number in range(1, 1100, 7):
        low, high = LOWEST_S * GROWTH**number, LOWEST_S * GROWTH ** (number + 1)
        inside = [low * (1 + 1e-9), (low + high) / 2, high * (1 - 1e-9)]
        assert LogHistogram.of(inside).bins == {number: 3}


def test_what_is_below_the_first_bin_is_counted_in_it() -> None:
    assert LogHistogram.of([0.0, LOWEST_S / 2]).bins == {0: 2}


@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf])
def test_no_latency_is_negative_or_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and at least 0"):
        LogHistogram.of([0.1, bad])


@pytest.mark.parametrize("bins", [{-1: 2}, {3: 0}])
def test_bins_are_checked(bins: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="Bins"):
        LogHistogram(bins)


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_a_share_is_in_0_to_1(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        LogHistogram.of([1.0]).quantile_s(share)


@pytest.mark.parametrize(("count", "share"), [*product((50, 1000, 5000), (0.5, 0.99, 0.999))])
def test_an_interval_holds_the_quantile_of_the_law(count: int, share: float) -> None:
    """In at least 95 % of 400 samples, less three standard deviations of such a count."""
    rng = np.random.default_rng(5)
    truth = float(stats.expon.ppf(share))
    held = 0
    for _ in range(400):
        low, high = LogHistogram.of(rng.exponential(1, count)).interval_s(share)
        held += low * (1 - WITHIN) <= truth and (high is None or truth <= high * (1 + WITHIN))
    assert held / 400 >= 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5


def test_a_quantile_beyond_the_sample_has_no_upper_end() -> None:
    """Of 1000 draws none need be above the p99.9: e^-1 of all samples have none."""
    assert LogHistogram.of(np.ones(1000)).interval_s(0.999)[1] is None
    assert LogHistogram.of(np.ones(5000)).interval_s(0.999)[1] is not None


@given(latencies)
def test_a_record_of_latencies_is_read_back_the_same(values: list[float]) -> None:
    histogram = LogHistogram.of(values)
    said = Latency.of(histogram)
    read = Latency.model_validate(json.loads(said.model_dump_json()))
    assert read == said
    assert dict(read.bins) == histogram.bins
    assert read.tail_gap_ms == read.p999_ms - read.p50_ms
