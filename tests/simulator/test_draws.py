"""Draws for arrays are the laws' own, and histograms keep what they are told."""

import numpy as np
import pytest

from simulator import Histogram, draws, theory
from worker import laws
from worker.faults import Delay

LAWS = (
    laws.Constant(0.3),
    laws.Expon(0.1, 0.5),
    laws.Pareto(0.1, 1.0, 1.5),
    laws.WeibullMin(0.0, 1.0, 0.7),
    laws.Lognorm(0.0, 1.0, 0.8),
    laws.Bimodal(0.1, 1.0, 0.05),
    laws.Trace((0.1, 0.2, 0.4)),
    laws.Scipy("gamma", {"a": 2.0}, 0.0, 1.0),
    laws.Scipy("norm", {}, 0.0, 1.0),
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_an_array_of_levels_gives_what_each_level_gives(law: laws.Law) -> None:
    levels = np.random.default_rng(0).random((40, 5))
    each = [[max(0.0, law.quantile_s(level)) for level in row] for row in levels.tolist()]
    np.testing.assert_allclose(draws.quantiles_s(law, levels), each, rtol=1e-12)


def test_a_law_nobody_knows_is_asked_level_by_level() -> None:
    class Square:
        def quantile_s(self, level: float) -> float:
            return level**2

    levels = np.array([0.0, 0.5, 0.9])
    np.testing.assert_allclose(draws.quantiles_s(Square(), levels), levels**2)


def test_a_share_of_the_tasks_is_delayed() -> None:
    draw = draws.of_delays(Delay(laws.Constant(1.0), probability=0.25), np.random.default_rng(0))()
    assert np.mean([draw() for _ in range(20_000)]) == pytest.approx(0.25, abs=0.012)


def test_slow_spells_have_their_share_and_length() -> None:
    law = laws.Bursts(0.0, 1.0, enter_probability=0.02, leave_probability=0.1)
    give = draws.of_delays(Delay(law), np.random.default_rng(0))
    draw, other = give(), give()  # a spell is one worker's: what another draws ends none
    slow = np.array([(draw(), other())[0] for _ in range(60_000)])
    assert slow.mean() == pytest.approx(law.slow_share, abs=0.02)
    spells = np.count_nonzero(np.diff(slow) == 1)
    assert slow.sum() / spells == pytest.approx(10, rel=0.1)


def test_a_histogram_knows_quantiles_to_half_a_percent_and_the_mean_exactly() -> None:
    values = np.random.default_rng(0).lognormal(-3, 1, 50_000)
    histogram = Histogram()
    histogram.add_all(values[:30_000])
    for value in values[30_000:]:
        histogram.add(float(value))
    assert histogram.count == 50_000
    assert histogram.mean == pytest.approx(values.mean(), rel=1e-9)
    assert histogram.variance == pytest.approx(values.var(), rel=1e-9)
    for q in (0.0, 0.01, 0.5, 0.99, 0.999, 1.0):
        assert histogram.quantile(q) == pytest.approx(np.quantile(values, q), rel=0.006)
    assert histogram.share_within(0.05) == pytest.approx((values < 0.05).mean(), abs=0.003)
    edges, counts = histogram.points()
    assert counts.sum() == 50_000
    assert edges[0] >= values.min()
    with pytest.raises(ValueError, match=r"0\.\.1"):
        histogram.quantile(1.5)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert np.isnan(Histogram().quantile(0.5))
    assert np.isnan(Histogram().mean)


# A formula at a point, and what it gives there as worked out by others.
VALUES = (
    (theory.shifted_exponential(10, 8, 1.0, 2.0), 1.71448),
    (theory.shifted_exponential_variance(10, 8, 2.0), 0.07494),
    (theory.pareto(10, 8, 1.0, 2.5), 1.81712),
    (theory.weibull(10, 1, 1.0, 0.7), 0.04718),
    (theory.weibull(10, 8, 1.0, 0.7), 1.73782),
    (theory.bimodal(10, 8, 1.0, 10.0, 0.1), 1.63172),
    (theory.split_job(10, 5, 2.0), 0.26456),
    (theory.hedged(1.0, 2.0, 1.3), 1.48143),
    (theory.hedges(1.0, 2.0, 1.3), 0.54881),
    (theory.mmn(4, 3.0, 1.0), 1.50943),
    (theory.mg1_wait(0.6, 1.0, 1.25), 0.93750),
    (theory.fork_join_two(0.7, 1.0), 4.70833),
    (theory.fork_join_all(4, 0.7, 1.0), 6.0733),
    (theory.fork_join_first(4, 2.5, 1.0), 0.66667),
    (theory.fork_join_upper(5, 3, 0.9, 1.0), 2.0452),
    (theory.fork_join_lower(5, 3, 0.9, 1.0), 1.0427),
    (theory.redundancy(4, 2, 0.6, 1.0), 1.00694),
    (theory.one_slow_of_many(100, 0.01), 0.634),
    (theory.not_decodable(10, 8, 0.05), 0.0115),
    (theory.query_slow(10, 8, 0.05), 0.0036),
)


@pytest.mark.parametrize(("value", "stated"), VALUES)
def test_closed_forms_have_their_stated_values(value: float, stated: float) -> None:
    assert value == pytest.approx(stated, rel=1e-3, abs=5e-5)  # as many digits as are stated
