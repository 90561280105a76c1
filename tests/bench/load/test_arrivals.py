"""Arrivals: Poisson, traces, and which queries."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.load.arrivals import choose, poisson, read_trace


def test_poisson_has_the_rate_and_exponential_gaps() -> None:
    """By Kolmogorov and Smirnov, and the count within four standard deviations."""
    times = poisson(500, 40, seed=3)
    assert abs(len(times) - 20_000) < 4 * 20_000**0.5
    assert stats.kstest(np.diff(times), "expon", args=(0, 1 / 500)).pvalue > 0.01
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 40


def test_arrivals_depend_on_the_seed_alone() -> None:
    assert np.array_equal(poisson(100, 1, 7), poisson(100, 1, 7))
    assert not np.array_equal(poisson(100, 1, 7)[:5], poisson(100, 1, 8)[:5])


@pytest.mark.parametrize(
    ("images", "requests", "rows"), [(7, 3, 2), (7, 20, 3), (3, 0, 1), (1, 4, 2)]
)
def test_every_image_is_asked_for_as_often_as_the_others(
    images: int, requests: int, rows: int
) -> None:
    chosen = choose(images, requests, rows, seed=1)
    assert chosen.shape == (requests, rows)
    counts = np.bincount(chosen.ravel(), minlength=images)
    assert counts.max() - counts.min() <= 1


def test_a_trace_is_read_as_it_stands(tmp_path: Path) -> None:
    """Comments and empty lines are passed over."""
    trace = tmp_path / "trace.txt"
    trace.write_text("# of a Monday\n0\n0.5\n\n0.5  # two at once\n2e1\n")
    assert read_trace(trace).tolist() == [0.0, 0.5, 0.5, 20.0]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("0\nsoon\n", 2, "must be a number of seconds, not 'soon'"),
        ("0\n1\n0.5\n", 3, "must not be before 1 s"),
        ("-1\n", 1, "at least 0 s"),
        ("inf\n", 1, "finite"),
        ("nan\n", 1, "finite"),
        ("# nothing\n", 1, "at least one time"),
    ],
)
def test_a_bad_trace_is_refused_by_its_line(
    tmp_path: Path, text: str, line: int, what: str
) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text(text)
    with pytest.raises(ValueError, match=f"{trace}:{line}: .*{what}"):
        read_trace(trace)
