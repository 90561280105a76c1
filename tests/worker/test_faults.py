"""Fault laws against their closed forms, and draws that depend on seed, worker and task alone."""

import math
from itertools import groupby

import numpy as np
import pytest
from scipy import stats

from worker.faults import Corruption, Delay, Failure, Faults, Injector, Kind
from worker.laws import (
    Bimodal,
    Bursts,
    Constant,
    Expon,
    Lognorm,
    Pareto,
    Scipy,
    Trace,
    WeibullMin,
)

DRAWS = 20_000
# law -> the same distribution in scipy's own words
SCIPY = {
    Expon(0.02, 0.1): stats.expon(loc=0.02, scale=0.1),
    Pareto(0.01, 0.05, 2.5): stats.pareto(2.5, loc=0.01, scale=0.05),
    WeibullMin(0.01, 0.05, 0.7): stats.weibull_min(0.7, loc=0.01, scale=0.05),
    Lognorm(0.01, 0.05, 0.8): stats.lognorm(0.8, loc=0.01, scale=0.05),
}


def draws(delay: Delay, worker: str = "w", count: int = DRAWS) -> np.ndarray:
    """Delays of tasks seeded 0, 1, 2..., seconds."""
    injector = Injector(Faults(seed=1, delay=delay), worker)
    return np.array([injector.delay_s(seed) for seed in range(count)])


@pytest.mark.parametrize("law", SCIPY, ids=lambda law: type(law).__name__)
def test_quantiles_are_those_of_scipy(law: Expon | Pareto | WeibullMin | Lognorm) -> None:
    """The closed forms are the distributions that their names promise."""
    levels = [0.0, 1e-9, 0.1, 0.5, 0.9, 0.999, 1 - 2.0**-53]
    ours = [law.quantile_s(level) for level in levels]
    np.testing.assert_allclose(ours, SCIPY[law].ppf(levels), rtol=1e-9)


@pytest.mark.parametrize("law", SCIPY, ids=lambda law: type(law).__name__)
def test_draws_follow_the_law(law: Expon | Pareto | WeibullMin | Lognorm) -> None:
    """Kolmogorov-Smirnov on seeded draws; at this size, a shift of 1 % of the spread is seen."""
    assert stats.kstest(draws(Delay(law)), SCIPY[law].cdf).pvalue > 0.01


def test_order_statistics_of_a_cluster() -> None:
    """The mean 8th of 10 shifted exponentials is c + (H10 - H2) / mu: workers draw apart."""
    delay = Delay(Expon(1.0, 0.5))
    times = np.stack([draws(delay, f"worker-{i}") for i in range(10)])
    eighth = np.sort(times, axis=0)[7].mean()
    assert eighth == pytest.approx(1.71448, rel=0.01)
    correlations = np.corrcoef(times) - np.eye(10)
    assert abs(correlations).max() < 5 / math.sqrt(DRAWS)


def test_a_share_of_tasks_is_late() -> None:
    """`probability` thins the delays without changing those that remain."""
    all_of_them, thinned = draws(Delay(Expon(1, 1))), draws(Delay(Expon(1, 1), probability=0.25))
    assert np.mean(thinned > 0) == pytest.approx(0.25, abs=0.015)
    np.testing.assert_array_equal(thinned[thinned > 0], all_of_them[thinned > 0])
    assert thinned[thinned > 0].mean() == pytest.approx(2, rel=0.03)  # length is independent of it


def test_simple_laws() -> None:
    """Constants, two values, recorded values, any other distribution, and none below zero."""
    assert set(draws(Delay(Constant(0.3)), count=10)) == {0.3}
    two = draws(Delay(Bimodal(0.1, 1.0, 0.2)))
    assert set(two) == {0.1, 1.0}
    assert np.mean(two == 1.0) == pytest.approx(0.2, abs=0.015)
    values, counts = np.unique(draws(Delay(Trace((0.1, 0.2, 0.4)))), return_counts=True)
    assert values.tolist() == [0.1, 0.2, 0.4]
    assert abs(counts / DRAWS - 1 / 3).max() < 0.02
    gamma = draws(Delay(Scipy("gamma", {"a": 2.0}, 0.01, 0.05)), count=1000)
    assert stats.kstest(gamma, stats.gamma(2, loc=0.01, scale=0.05).cdf).pvalue > 0.01
    normal = draws(Delay(Scipy("norm", {}, 0.0, 1.0)), count=200)
    assert normal.min() == 0.0


def test_bursts() -> None:
    """Slow share and spell lengths of the two-state chain, from its very first task."""
    law = Bursts(0.0, 1.0, enter_probability=0.05, leave_probability=0.2)
    slow = draws(Delay(law)) > 0
    assert slow.mean() == pytest.approx(0.2, abs=0.02)
    spells = [(state, len(list(run))) for state, run in groupby(slow.tolist())]
    assert np.mean([n for state, n in spells if state]) == pytest.approx(5, rel=0.08)
    assert np.mean([n for state, n in spells if not state]) == pytest.approx(20, rel=0.1)
    first = [draws(Delay(law), f"w{i}", count=1)[0] > 0 for i in range(2000)]
    assert np.mean(first) == pytest.approx(0.2, abs=0.03)


def test_a_draw_depends_on_seed_worker_and_task_only() -> None:
    """Not on the order of tasks, nor on what was drawn before; and on each of the three."""
    faults = Faults(
        seed=1,
        delay=Delay(Expon(0, 1), probability=0.5),
        failure=Failure("drop", probability=0.3),
        corruption=Corruption("gaussian", 0.5),
    )
    answer = [np.zeros((2, 3), np.float32)]

    def all_of(seed: int, injector: Injector) -> tuple[float, Kind | None, bytes]:
        wrong = injector.corrupt(seed, answer)[0].tobytes()
        return injector.delay_s(seed), injector.failure(seed, 0.0), wrong

    seeds = [0, 1, 7, 2**63, 2**64 - 1]
    forward, backward = Injector(faults, "w"), Injector(faults, "w")
    first = {seed: all_of(seed, forward) for seed in seeds}
    second = {seed: all_of(seed, backward) for seed in reversed(seeds)}
    assert first == second
    assert len(set(first.values())) == len(seeds)
    assert first != {seed: all_of(seed, Injector(faults, "v")) for seed in seeds}
    other = Faults(2, faults.delay, faults.failure, faults.corruption)
    assert first != {seed: all_of(seed, Injector(other, "w")) for seed in seeds}


def test_the_draws_of_today_are_those_of_tomorrow() -> None:
    """A recorded experiment can be repeated with a later version."""
    injector = Injector(Faults(seed=5, delay=Delay(Expon(0, 1))), "worker-0")
    assert [injector.delay_s(seed) for seed in range(3)] == pytest.approx(
        [0.748919987, 1.23382508, 0.877500283], abs=1e-9
    )


def test_failures() -> None:
    """By chance: its share. At a time: every task from then on, for those that concern tasks."""
    by_chance = Injector(Faults(failure=Failure("refuse", probability=0.1)), "w")
    failed = [by_chance.failure(seed, 0.0) for seed in range(DRAWS)]
    assert set(failed) == {None, "refuse"}
    assert failed.count("refuse") / DRAWS == pytest.approx(0.1, abs=0.01)
    for kind, later in (("refuse", "refuse"), ("drop", "drop"), ("exit", None), ("hang", None)):
        timed = Injector(Faults(failure=Failure(kind, at_s=2.0)), "w")  # type: ignore[arg-type]
        assert timed.failure(1, 1.999) is None
        assert timed.failure(1, 2.0) == later
    assert Injector(Faults(), "w").failure(1, 1e9) is None


def corrupted(law: str, answer: np.ndarray, before: tuple[np.ndarray, ...] = ()) -> np.ndarray:
    """An answer, corrupted for certain."""
    corruption = Corruption(law, 1.0, 10.0)  # type: ignore[arg-type]
    (wrong,) = Injector(Faults(corruption=corruption), "w").corrupt(3, [answer], before)
    assert wrong.shape == answer.shape
    assert wrong.dtype == answer.dtype
    return wrong


def test_corruptions() -> None:
    """Noise of the scale told, a sign, another row's answer, one bit; the original untouched."""
    answer = np.arange(2000, dtype=np.float32).reshape(200, 10)
    kept = answer.copy()
    noise = corrupted("gaussian", answer) - answer
    assert stats.kstest(noise.reshape(-1) / 10, "norm").pvalue > 0.01
    np.testing.assert_array_equal(corrupted("sign-flip", answer), -answer)
    swapped = corrupted("swap", answer)
    assert not (swapped == answer).all(axis=1).any()
    np.testing.assert_array_equal(np.sort(swapped, axis=0), answer)
    flipped = corrupted("bit-flip", answer)
    bits = np.unpackbits(flipped.view(np.uint8)) ^ np.unpackbits(answer.view(np.uint8))
    assert bits.sum() == 1
    np.testing.assert_array_equal(answer, kept)


def test_a_row_alone_is_swapped_with_an_earlier_one() -> None:
    """Where there is an earlier one."""
    alone, earlier = np.ones((1, 3), np.float32), np.full((1, 3), 7, np.float32)
    np.testing.assert_array_equal(corrupted("swap", alone, (earlier,)), earlier)
    np.testing.assert_array_equal(corrupted("swap", alone), alone)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
@pytest.mark.parametrize("law", ["gaussian", "sign-flip", "swap", "bit-flip"])
def test_corruptions_of_every_datatype(law: str, dtype: str) -> None:
    """Each changes something and keeps shape and dtype."""
    answer = np.array([[1, 0], [0, 1]], dtype=dtype)
    assert (corrupted(law, answer) != answer).any()
    assert np.isin(corrupted(law, answer.astype(bool)).view(np.uint8), [0, 1]).all()


def test_corruption_by_chance() -> None:
    """A spared task's results are handed on as they are."""
    injector = Injector(Faults(corruption=Corruption("sign-flip", 0.1)), "w")
    answer = [np.ones((1, 1), np.float32)]
    spared = sum(injector.corrupt(seed, answer) is answer for seed in range(DRAWS))
    assert spared / DRAWS == pytest.approx(0.9, abs=0.01)
