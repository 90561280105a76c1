"""Leave-one-out location: the right residuals, an honest false alarm rate, and liars found."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import codes
from codes.calibrated import Calibrated, measure_moments
from codes.residuals import leave_one_out


def network(seed: int = 0, rows: int = 0) -> Callable[[Tensor], Tensor]:
    """A small network; with `rows`, [g, 6] to [g, rows, 3]."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(6, 24, generator=generator) / 6**0.5
    last = torch.randn(24, 3 * max(rows, 1), generator=generator)

    def run(x: Tensor) -> Tensor:
        y = torch.tanh(2 * x @ first) @ last + 1.0
        return y.reshape(len(x), rows, 3) if rows else y

    return run


def queries(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def berrut() -> Calibrated:
    code = codes.make("berrut", k=4, n=10)
    return Calibrated(code, measure_moments(code, network(), queries(2000, 1)))


def batches(code: Calibrated, count: int, g: int, seed: int = 2) -> list[list[Tensor]]:
    """Fresh honest results of `count` batches of g groups."""
    rows = queries(count * g * code.k, seed).view(count * g, code.k, 6)
    results = [network()(shard) for shard in code.encode(rows)]
    return [[y[i * g : (i + 1) * g] for y in results] for i in range(count)]


def test_scores_are_those_of_the_best_affine_prediction_from_the_others() -> None:
    """By regressions, one a row; the residual of a block of rows by its covariance."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((5, 5))
    groups = rng.standard_normal((400, 4, 5)) @ mixing.T  # [m, entries, rows]
    sample = np.einsum("gea,geb->gab", groups, groups) / 4
    test = leave_one_out(sample, [1, 1, 1, 2], 1, ridge=1e-9)
    flat = groups.reshape(-1, 5)
    for slot, block in enumerate(([0], [1], [2], [3, 4])):
        others = [row for row in range(5) if row not in block]
        fitted, *_ = np.linalg.lstsq(flat[:, others], flat[:, block], rcond=None)
        rest = flat[:, block] - flat[:, others] @ fitted
        spread = rest.T @ rest / len(rest)
        distance = np.einsum("xa,ab,xb->x", rest, np.linalg.inv(spread), rest)
        start = slot
        ours = np.square(flat @ test.whitening[start : start + len(block)].T).sum(axis=1)
        np.testing.assert_allclose(ours, distance, rtol=1e-5, atol=1e-8)
    assert 1 < test.limit(0.1) < test.limit(0.01)


@pytest.mark.parametrize("g", [1, 4, 16])
def test_honest_batches_are_left_alone_as_promised(berrut: Calibrated, g: int) -> None:
    """One in a hundred may be accused: of 1500, 15; 30 would be beyond four sigma."""
    accused = sum(bool(berrut.locate(batch, range(10), 1)) for batch in batches(berrut, 1500, g))
    assert accused < 30


def test_most_samples_keep_the_rate() -> None:
    """Of 60 limits, each from 1000 groups, one may be passed by more than 1 in 100."""
    rng = np.random.default_rng(0)

    def sample(count: int) -> np.ndarray:
        groups = rng.standard_normal((count, 2, 3))
        return np.einsum("gea,geb->gab", groups, groups) / 2

    beyond = []
    for _ in range(60):
        test = leave_one_out(sample(1000), [1, 1, 1], 1, ridge=1e-9)
        energy = np.einsum("ra,gab,rb->gr", test.whitening, sample(20_000), test.whitening)
        beyond.append((np.sqrt(energy).max(axis=1) > test.limit(0.01)).mean())
    assert sum(share > 0.01 for share in beyond) <= 3
    assert 0.002 < np.mean(beyond) < 0.006  # 4 of 1001 are meant


def test_few_honest_batches_are_in_doubt_and_most_lies_are(berrut: Calibrated) -> None:
    """As many as the share says; and far more flipped results than are accused at 1 in 100."""
    fresh = batches(berrut, 400, 1)
    honest = [berrut.doubt(batch, range(10), 0.2) for batch in fresh]
    assert 50 < sum(slot is not None for slot in honest) < 110
    accused = doubted = 0
    for i, batch in enumerate(fresh):
        batch[i % 10] = -batch[i % 10]
        accused += berrut.locate(batch, range(10), 1) == (i % 10,)
        doubted += berrut.doubt(batch, range(10), 0.2) == i % 10
    assert doubted > accused + 20


def test_whoever_is_sure_is_neither_doubted_nor_accused(berrut: Calibrated) -> None:
    """However far off; where nobody else is, nobody is."""
    (batch,) = batches(berrut, 1, 4)
    batch[3] = batch[3] + 100.0
    assert berrut.doubt(batch, range(10), 0.2) == 3
    assert berrut.doubt(batch, range(10), 0.2, sure=range(10)) is None
    assert berrut.locate(batch, range(10), 1) == (3,)
    assert 3 not in berrut.locate(batch, range(10), 1, sure=(3,))


def test_a_lie_fits_worse_than_the_truth(berrut: Calibrated) -> None:
    """Of two results for one slot, the right one is told apart nearly always."""
    better = 0
    for i, batch in enumerate(batches(berrut, 200, 1)):
        honest = berrut.misfit(batch, range(10), i % 10)
        truth = batch[i % 10]
        batch[i % 10] = -truth
        told_apart = honest < berrut.misfit(batch, range(10), i % 10)
        assert berrut.prefers(batch, range(10), i % 10, truth) == told_apart
        better += told_apart
    assert better > 185


def test_doubts_of_nothing_are_refused(berrut: Calibrated) -> None:
    (batch,) = batches(berrut, 1, 1)
    with pytest.raises(ValueError, match="'share' must be above 0 and below 1, not 1"):
        berrut.doubt(batch, range(10), 1)
    with pytest.raises(ValueError, match="'slot' must be one of"):
        berrut.misfit(batch, range(10), 10)


def test_a_higher_rate_accuses_more(berrut: Calibrated) -> None:
    """The dial turns: it is not that nobody is ever accused."""
    eager = Calibrated(berrut.code, berrut.moments, false_alarms=0.4)
    accused = sum(bool(eager.locate(batch, range(10), 1)) for batch in batches(berrut, 300, 4))
    assert 60 < accused < 150


@pytest.mark.parametrize(
    ("lie", "g", "least"),
    [
        (lambda y: -y, 1, 0.4),
        (lambda y: -y, 4, 0.9),
        (lambda y: y + 10, 1, 0.8),
        (lambda y: y.roll(1, 0), 16, 0.9),
    ],
)
def test_a_liar_is_found(
    berrut: Calibrated, lie: Callable[[Tensor], Tensor], g: int, least: float
) -> None:
    """More often the more groups are judged together; an innocent one hardly ever in its place."""
    found, innocent = 0, 0
    for number, batch in enumerate(batches(berrut, 200, g)):
        liar = number % 10
        told = [lie(y) if slot == liar else y for slot, y in enumerate(batch)]
        accused = berrut.locate(told, range(10), 1)
        found += accused == (liar,)
        innocent += bool(accused) and accused != (liar,)
    assert found >= 200 * least
    assert innocent <= 10


def test_two_liars_are_found_one_after_the_other(berrut: Calibrated) -> None:
    """No more than are asked for; by a subset of the slots in any order, too."""
    found = 0
    for number, batch in enumerate(batches(berrut, 50, 8)):
        liars = {number % 10, (number + 3) % 10}
        told = [y + 10 * (slot in liars) for slot, y in enumerate(batch)]
        found += set(berrut.locate(told, range(10), 2)) == liars
        assert len(berrut.locate(told, range(10), 1)) == 1
        assert berrut.locate(told, range(10), 0) == ()
        some = [9, 2, 0, 4, 6, 1, 8]
        assert set(berrut.locate([told[slot] for slot in some], some, 2)) <= set(some)
    assert found >= 45


def test_one_responder_alone_is_believed(berrut: Calibrated) -> None:
    (batch,) = batches(berrut, 1, 1)
    assert berrut.locate([batch[3] + 1e6], [3], 1) == ()


def test_a_student_of_several_rows_is_judged_as_one(trained: Calibrated) -> None:
    """As the others are, when it lies, and when they do."""
    rows = queries(4000, 5).view(50, 20, 4, 6)
    found = 0
    for number, groups in enumerate(rows):
        results = [
            network(seed=1, rows=4)(shard.flatten(1)[:, :6]) if width else network()(shard)
            for shard, width in zip(trained.encode(groups), trained.widths, strict=True)
        ]
        liar = number % 6
        results[liar] = results[liar] + 20
        found += trained.locate(results, range(6), 1) == (liar,)
    assert found >= 45


@pytest.fixture(scope="module")
def trained() -> Calibrated:
    code = codes.make("backup", k=4, n=6)
    programs = {
        "base": network(),
        "student": lambda x: network(seed=1, rows=4)(x.flatten(1)[:, :6]),
    }
    return Calibrated(code, measure_moments(code, programs, queries(2000, 1)))


def test_the_rate_is_checked(berrut: Calibrated) -> None:
    for rate in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="'false_alarms' must be above 0 and below 1"):
            Calibrated(berrut.code, berrut.moments, false_alarms=rate)
