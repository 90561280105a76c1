"""The bench of liars: the published locator finds what is loud, and rows say what happened."""

import numpy as np
import pytest
import torch

import codes
from bench import liars
from bench.rational import rational_suspects
from codes.calibrated import Calibrated, measure_moments
from codes.interpolation import first


def rational(points: np.ndarray) -> np.ndarray:
    """Smooth functions of a point, [points, 1, entries]."""
    return np.stack([1 / (2 + points), points**2, points * 3 - 1], axis=1)[:, None]


@pytest.mark.parametrize("errors", [1, 2])
def test_the_published_locator_finds_wrong_values_of_rational_functions(errors: int) -> None:
    """Whoever it is: with degree k + E - 1 in both parts the truth has a fit without error."""
    k = 4
    points = first(2 * (k + errors) - 1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wrong = tuple(sorted(rng.choice(len(points), errors, replace=False).tolist()))
        values = rational(points)
        values[list(wrong)] += rng.uniform(1, 5, (errors, 1, 3))
        assert rational_suspects(values, points, k, errors) == wrong


def test_the_published_locator_always_accuses() -> None:
    points = first(9)
    assert len(rational_suspects(rational(points), points, 4, 1)) == 1


def test_a_row_tells_what_became_of_liars() -> None:
    """Found, and as accurate as without the liar, unlike what nobody defends."""
    network = torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.Tanh(), torch.nn.Linear(20, 4))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    queries = torch.randn(2400, 6, generator=torch.Generator().manual_seed(0))
    plain = codes.make("berrut", k=4, n=10)
    code = Calibrated(plain, measure_moments(plain, network, queries[:1200]))
    groups = queries[1200:].view(300, 4, 6)
    with torch.no_grad():
        results = [network(shard).numpy() for shard in code.encode(groups)]
        truth = network(groups).argmax(-1).numpy()
    case = liars.Case("toy", code, results, truth)
    row = liars.measure(case, "noise 100", 4, batches=40, seed=0)
    assert row["located"] > 0.95
    assert row["false_alarms"] < 0.1
    assert row["accuracy_liar"] == pytest.approx(row["accuracy_lost"], abs=0.02)
    assert row["accuracy_undefended"] < row["accuracy_liar"] - 0.1
    assert row["again_liar"] == 0
    twice = liars.measure(case, "noise 100", 4, batches=40, seed=0, locator="twice")
    assert twice["located"] > 0.95
    assert twice["false_alarms"] == 0
    assert twice["again_liar"] >= twice["located"]
    assert 0 < twice["again_honest"] < 1
    assert twice["accuracy_liar"] == pytest.approx(twice["accuracy_honest"], abs=0.005)
    drops = liars.measure(case, "noise 100", 4, batches=10, seed=0, locator="rational")
    assert drops["false_alarms"] == 1.0
    assert len(liars.cells(row)) == len(liars.TITLES)
