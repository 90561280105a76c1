"""Wrong nodes are found up to the limit, and beyond it nothing comes out."""

import pickle

import numpy as np
import pytest

from bench.polydot.trials import dense, made, spoilt
from codes.polydot import Inaccurate, NotRecoverable, Product, TooManyErrors

CODES = [
    Product(2, 2, 2, 12),
    Product(2, 1, 2, 9),
    Product(2, 1, 2, 9, "cheb"),
    Product(2, 1, 2, 9, "rkrp"),
    Product(1, 3, 1, 9),
    Product(2, 2, 1, 9, "mono"),
]


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_dense_errors_are_located_up_to_the_limit(code: Product) -> None:
    limit = code.most_liars().probable
    for seed in range(5):
        rng = np.random.default_rng(seed)
        for count in range(limit + 1):
            liars = tuple(sorted(rng.choice(code.nodes, count, replace=False).tolist()))
            trial = spoilt(made(code, seed=seed), liars, dense(rng))
            decoded = trial.decode()
            assert decoded.liars == liars
            assert trial.error(decoded) <= min(1e-10, decoded.estimate)


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_more_are_refused(code: Product) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        for count in range(code.most_liars().probable + 1, code.nodes + 1):
            liars = rng.choice(code.nodes, count, replace=False)
            with pytest.raises((TooManyErrors, Inaccurate)):
                spoilt(made(code, seed=seed), liars, dense(rng)).decode()


def test_34_of_60_liars() -> None:
    code = Product(5, 1, 5, 60, "rkrp")
    assert code.most_liars() == (34, 17)
    rng = np.random.default_rng(0)
    liars = tuple(sorted(rng.choice(60, 34, replace=False).tolist()))
    for dtype, limit in ((np.float64, 1e-12), (np.float32, 1e-5)):
        trial = spoilt(made(code, dtype, (50, 20, 50)), liars, dense(rng))
        decoded = trial.decode(max_error=0.01)  # one row more than needed says little of float32
        assert decoded.liars == liars
        assert trial.error(decoded) <= limit


def test_liars_that_agree_are_corrected_to_half_the_distance_and_never_believed_to_be_sure() -> (
    None
):
    """Another codeword at t nodes: corrected at t = (P - K) / 2, refused above as long as the
    true one is at more than K nodes."""
    code = Product(2, 1, 2, 12, "circle")
    trial, other = made(code), made(code, seed=1)
    assert code.most_liars().adversarial == 4
    for count in range(9):
        mixed = trial.told({node: other.results[node] for node in range(count)})
        if count <= 4:
            assert mixed.decode().liars == tuple(range(count))
        elif count <= 7:
            with pytest.raises(TooManyErrors):
                mixed.decode()
        else:  # nobody could know: eight agree, and four others are few enough to be liars
            assert mixed.decode().liars == tuple(range(8, 12))


def test_a_result_that_is_not_finite_is_a_lie() -> None:
    def broken(result: np.ndarray) -> np.ndarray:
        wrong = result.copy()
        wrong.flat[0] = np.nan
        return wrong

    trial = spoilt(made(Product(2, 2, 2, 7)), [2], broken)
    decoded = trial.decode()
    assert decoded.liars == (2,)
    assert trial.error(decoded) <= 1e-12


def test_huge_errors_do_not_hide_small_ones() -> None:
    rng = np.random.default_rng(0)
    trial = made(Product(2, 2, 2, 12))
    for node, size in zip((1, 4, 6, 9), (1e30, 1e9, 1.0, 1e-6), strict=True):
        trial = spoilt(trial, [node], dense(rng, size))
    decoded = trial.decode()
    assert decoded.liars == (1, 4, 6, 9)
    assert trial.error(decoded) <= 1e-12


def test_single_entries_of_large_results_are_seen() -> None:
    """Beyond 4096 entries random sums are looked at first; then each entry."""
    code = Product(2, 1, 1, 8)
    trial = made(code, size=(200, 3, 90))

    def touched(result: np.ndarray) -> np.ndarray:
        wrong = result.copy()
        wrong[5, 7] += 1.0
        return wrong

    decoded = spoilt(trial, [1, 5], touched).decode()
    assert decoded.liars == (1, 5)


@pytest.mark.parametrize("size", [(2, 3, 40_001), (40_001, 3, 2), (150, 3, 700)], ids=str)
@pytest.mark.parametrize("wrong", [1.0, np.inf, 1e30])
@pytest.mark.parametrize("code", [Product(2, 1, 1, 6), Product(1, 2, 2, 8, "conj")], ids=repr)
def test_large_results_are_read_whole(
    code: Product, size: tuple[int, int, int], wrong: float
) -> None:
    """Lines longer than a tile, shorter, and as long as a few: the last entry counts, too."""
    trial = made(code, np.float32, size)

    def touched(result: np.ndarray) -> np.ndarray:
        told = result.copy()
        told[-1, -1] += np.float32(wrong)
        return told

    assert trial.error(trial.decode()) <= 1e-6
    decoded = spoilt(trial, [3], touched).decode()
    assert decoded.liars == (3,)
    assert trial.error(decoded) <= 1e-6


def test_liars_are_limited_by_who_asks() -> None:
    code = Product(2, 2, 2, 12)
    rng = np.random.default_rng(0)
    trial = spoilt(made(code), [1, 2, 3], dense(rng))
    with pytest.raises(TooManyErrors, match="2 or fewer"):
        trial.decode(most_liars=2)
    with pytest.raises(NotRecoverable) as refusal:
        trial.decode(range(7), most_liars=3)
    assert refusal.value.needed == 8  # 16 real rows: one more than K = 9 and three liars' six
    assert trial.decode(range(8), most_liars=3).liars == (1, 2, 3)


def test_errors_survive_a_process() -> None:
    for error in (Inaccurate((1, 2), 0.5, 0.1), TooManyErrors((1, 2), 1)):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
