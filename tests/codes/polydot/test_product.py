"""Coded products: what comes out is the product, from any nodes that are enough, or nothing."""

from itertools import permutations, product

import numpy as np
import pytest

from bench.polydot.trials import made
from codes.polydot import Inaccurate, NotRecoverable, Product, TooManyErrors, product_noise
from codes.polydot.families import FAMILIES, TURN
from codes.polydot.verify import tried
from codes.verify import subsets

GRIDS = list(product((1, 2, 3), repeat=3))


def reached(family: str, m: int, p: int, n: int, spare: int = 2) -> Product:
    needed = Product(m, p, n, 256, family).node_threshold
    return Product(m, p, n, needed + spare, family)


@pytest.mark.parametrize(
    ("family", "limit"), [("conj", 1e-12), ("circle", 1e-13), ("cheb", 1e-12), ("rkrp", 1e-11)]
)
def test_any_nodes_that_are_enough_give_the_product(family: str, limit: float) -> None:
    for m, p, n in GRIDS:
        code = reached(family, m, p, n)
        trial = made(code)
        for nodes in subsets(code.nodes, code.node_threshold, 20):
            decoded = trial.decode(nodes)
            assert trial.error(decoded) <= min(limit, decoded.estimate), (code, nodes)
            assert decoded.nodes == nodes


@pytest.mark.parametrize("family", FAMILIES)
def test_one_node_fewer_is_refused(family: str) -> None:
    for m, p, n in [(1, 1, 1), (2, 1, 2), (1, 2, 1), (2, 2, 2)]:
        code = reached(family, m, p, n)
        if code.node_threshold == 1:
            continue
        with pytest.raises(NotRecoverable) as refusal:
            made(code).decode(range(code.node_threshold - 1))
        assert refusal.value.needed == code.node_threshold


def test_thresholds_are_those_of_the_papers() -> None:
    """p m n + p - 1 rows, halved by complex ones; m n (2 p - 1) without aligned garbage."""
    for m, p, n in GRIDS:
        aligned, apart = p * m * n + p - 1, m * n * (2 * p - 1)
        assert Product(m, p, n, 100, "mono").node_threshold == aligned
        assert Product(m, p, n, 100, "conj").node_threshold == (aligned + 1) // 2
        for family in ("circle", "cheb", "rkrp"):
            assert Product(m, p, n, 100, family).threshold == apart


@pytest.mark.parametrize("family", FAMILIES)
def test_the_threshold_is_tight(family: str) -> None:
    """The wanted blocks are not in the span of some K - 1 rows; here they are in that of all K."""
    frame = reached(family, 2, 2, 2, spare=0).frame
    for count, is_enough in ((frame.threshold, True), (frame.threshold - 1, False)):
        rows = frame._generator[:count].T
        solved, *_ = np.linalg.lstsq(rows, frame.extraction.T, rcond=None)
        apart = np.abs(rows @ solved - frame.extraction.T).max()
        assert (apart < 1e-10) == is_enough


def test_matdot_by_hand() -> None:
    """(1, 2, 1) at the point v: A~ = (A_0 / 2 + v A_1) / s, B~ = (v B_0 + B_1 / 2) / s."""
    code = Product(1, 2, 1, 3, "cheb")
    a, b = np.array([[2.0, 3.0]]), np.array([[5.0], [7.0]])
    point = np.cos(np.pi / 6)  # the first of three Chebyshev points
    scale = np.hypot(0.5, point)
    assert code.encode_a(a)[0].item() == pytest.approx((2 / 2 + point * 3) / scale)
    assert code.encode_b(b)[0].item() == pytest.approx((point * 5 + 7 / 2) / scale)


def test_waves_by_hand() -> None:
    """(2, 1, 2) at the angle t: A~ mixes by cos and sin of t / 2, B~ by those of t."""
    code = Product(2, 1, 2, 4, "circle")
    t = 2 * np.pi / 4 * 2  # node 1 stands on point 2 of 4
    assert code.encode_a(np.array([[2.0], [3.0]]))[1].item() == pytest.approx(
        2 * np.cos(t / 2) + 3 * np.sin(t / 2)
    )
    assert code.encode_b(np.array([[5.0, 7.0]]))[1].item() == pytest.approx(
        5 * np.cos(t) + 7 * np.sin(t)
    )


def test_all_waves_together_are_a_mean() -> None:
    """MatDot on the whole circle: with all nodes every answer has the same weight."""
    frame = Product(1, 3, 1, 8).frame
    assert np.ptp(frame._pattern(tuple(range(8))).decoder) < 1e-14


def test_what_all_nodes_get_whole_is_not_copied() -> None:
    b = np.ones((2, 3))
    assert all(np.shares_memory(share, b) for share in Product(2, 1, 1, 4, "circle").encode_b(b))


def test_half_circle_by_hand() -> None:
    """(2, 1, 1) of 2 nodes: A~ = (A_0 + z A_1) / sqrt 2 at z = exp(i pi (1/2 + TURN) / 2)."""
    code = Product(2, 1, 1, 2, "conj")
    share = code.encode_a(np.array([[2.0], [3.0]]))[0].item()
    assert share == pytest.approx((2 + np.exp(0.5j * np.pi * (0.5 + TURN)) * 3) / np.sqrt(2))


def test_families_are_chosen_by_the_rules() -> None:
    assert Product(2, 2, 2, 13).kind == "conj"
    assert Product(2, 2, 2, 14).kind == "circle"
    assert Product(1, 3, 1, 13).kind == "circle"
    assert Product(2, 1, 2, 11).kind == "circle"
    assert Product(2, 1, 2, 12).kind == "rkrp"


def test_sixty_nodes_with_few_lost_are_as_good_as_float32_itself() -> None:
    for code in (Product(5, 2, 5, 60, "conj"), Product(5, 1, 5, 60), Product(3, 3, 3, 60, "rkrp")):
        trial = made(code, np.float32, (40, 36, 40))
        assert trial.error(trial.decode()) <= 3e-7, code


def test_precision_is_kept() -> None:
    for dtype in (np.float32, np.float64):
        assert made(Product(2, 2, 2, 7), dtype).decode().values.dtype == dtype


def test_an_estimate_over_the_limit_is_refused() -> None:
    trial = made(Product(3, 2, 3, 19, "mono"), np.float32)
    with pytest.raises(Inaccurate) as refusal:
        trial.decode()
    assert refusal.value.estimate > refusal.value.limit
    decoded = trial.decode(max_error=np.inf)
    assert trial.error(decoded) <= decoded.estimate


def test_a_product_that_cancels_is_zero_to_rounding() -> None:
    """Errors are relative to what the operands' size would make of it."""
    code = Product(2, 2, 2, 7)
    a = np.array([[1.0, 1.0], [2.0, 2.0]])
    b = np.array([[3.0, 5.0], [-3.0, -5.0]])
    shares = list(zip(code.encode_a(a), code.encode_b(b), strict=True))
    noise = product_noise(*shares[0])
    decoded = code.decode({i: x @ y for i, (x, y) in enumerate(shares)}, noise, (2, 2))
    assert np.abs(decoded.values).max() <= 1e-14
    assert decoded.estimate <= 1e-13


def test_operands_and_sizes_are_refused_by_name() -> None:
    code = Product(2, 2, 2, 7)
    for wrong, says in [
        (np.zeros(3), r"\[3\]"),
        (np.zeros((2, 0)), r"\[2, 0\]"),
        (np.zeros((2, 2), np.int64), "int64"),
        (np.array([[1.0, np.nan]]), r"\[0, 1\]"),
    ]:
        with pytest.raises(ValueError, match=says):
            code.encode_a(wrong)
    with pytest.raises(ValueError, match=r"'nodes' must be at least .*\(2, 2, 2\).* 5, not 4"):
        Product(2, 2, 2, 4)
    with pytest.raises(ValueError, match="'blocks_p'"):
        Product(2, 0, 2, 4)
    with pytest.raises(ValueError, match="'family'"):
        Product(2, 2, 2, 12, "roots")


def test_results_that_do_not_fit_together_are_refused_by_name() -> None:
    trial = made(Product(2, 2, 2, 7))
    trial.results[3] = trial.results[3][:1]
    with pytest.raises(ValueError, match="node 3"):
        trial.decode()
    real = {node: result.real for node, result in made(Product(2, 2, 2, 7)).results.items()}
    with pytest.raises(ValueError, match="complex"):
        trial.code.decode(real, trial.noise, (13, 12))


def test_one_part_of_a_result_hides_behind_no_other_node() -> None:
    """Two of three nodes lie, more than are corrected, and each in one part of one entry only."""
    code = Product(1, 2, 1, 3, "conj")
    for (first, second), parts in product(permutations(range(3), 2), product((1, 1j), repeat=2)):
        trial = tried(code, np.float64, (4, 6, 4), seed=0)
        lies = {node: trial.results[node].copy() for node in (first, second)}
        lies[first][0, 0] += parts[0]
        lies[second][1, 1] += 1e-9 * parts[1]
        told = trial.told(lies)
        try:
            decoded = told.decode()
        except (TooManyErrors, Inaccurate):
            continue
        assert told.error(decoded) <= decoded.estimate, (first, second, parts)


def test_rounding_what_is_returned_is_in_the_estimate() -> None:
    """Of many copies the mean is better than the precision that it is given in."""
    for seed in range(40):
        trial = tried(Product(1, 1, 1, 60, "cheb"), np.float32, (21, 3, 4), seed)
        decoded = trial.decode()
        assert trial.error(decoded) <= decoded.estimate


def test_liars_who_agree_on_hardly_anything_are_not_taken_for_others() -> None:
    code = Product(3, 2, 2, 29)
    for number in range(150):
        rng = np.random.default_rng(number)
        trial = tried(code, np.float32, (6, 4, 6), seed=number)
        error = 10.0 ** rng.uniform(-6, -4) * rng.standard_normal((2, 3)).astype(np.float32)
        liars = rng.choice(code.nodes, 4, replace=False)
        told = trial.told({int(node): trial.results[int(node)] + error for node in liars})
        try:
            decoded = told.decode()
        except (TooManyErrors, Inaccurate):
            continue
        assert told.error(decoded) <= decoded.estimate, number
