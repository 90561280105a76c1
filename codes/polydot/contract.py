"""The contract of a coded product, as checks that anybody may run: `check_product(code)`.

Each check takes a code and raises an AssertionError with a sentence, as those of `codes.contract`.
"""

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import comb
from typing import Any

import numpy as np

from codes.base import NotRecoverable
from codes.checks import MOST_SLOTS
from codes.contract import run_checks
from codes.locating import TooManyErrors
from codes.polydot.frame import Inaccurate
from codes.polydot.product import MOST_BLOCKS, Array, Product
from codes.polydot.verify import Trial, tried, verify
from codes.verify import MOST_SETS, subsets

Check = Callable[[Product], None]
REFUSALS = (NotRecoverable, Inaccurate, TooManyErrors)
SETS = 20  # of liars, of a size


def check_product(code: Product, checks: Sequence[Check] | None = None) -> None:
    """Run the contract, or some checks of it.

    Raises:
        AssertionError: the first check that fails, with the code and what it did.
        RuntimeError: under `python -O`, which would skip every check.
    """
    run_checks(code, CHECKS if checks is None else checks)


def check_configuration(code: Product) -> None:
    """The repr is the configuration, and bad sizes are refused by name."""
    call = ast.parse(repr(code), mode="eval").body
    assert isinstance(call, ast.Call), f"{code!r} must show itself as a call."
    shown: dict[str, Any] = {w.arg: ast.literal_eval(w.value) for w in call.keywords if w.arg}
    assert Product(**shown) == code, f"{code!r} is not made by its repr."
    shown["family"] = code.kind  # "auto" may have one for fewer nodes
    bad = [(f"blocks_{axis}", size) for axis in "mpn" for size in (0, MOST_BLOCKS + 1)]
    for argument, value in [*bad, ("nodes", code.node_threshold - 1), ("nodes", MOST_SLOTS + 1)]:
        refusal = ""
        try:
            Product(**{**shown, argument: value})
        except ValueError as error:
            refusal = str(error)
        assert f"'{argument}'" in refusal, f"{code!r}: {argument} = {value} gives {refusal!r}."


def check_subsets(code: Product) -> None:
    """Every set of enough nodes gives the product within its estimate, and fewer are refused."""
    seen = verify(code)
    for size, fates in enumerate(seen.fates, 1):
        count, wanted = sum(fates.values()), min(comb(code.nodes, size), MOST_SETS)
        assert count == wanted, f"{code!r}: {count} sets of {size} nodes tried, not {wanted}."
        is_enough = size >= code.node_threshold
        assert is_enough or set(fates) == {"refused"}, f"{code!r}: {size} nodes give {fates}."
    assert not seen.wrong, f"{code!r} is silently wrong, for one with nodes {seen.wrong[:1]}."
    assert not seen.unkept, f"{code!r} refuses nodes {seen.unkept[:1]}, enough by its threshold."


def check_rows(code: Product) -> None:
    """All nodes round alike, and what they return is what the frame says that it is."""
    mixing = code.mixing
    for mixes in (mixing.of_a, mixing.of_b):
        norms = np.sqrt((np.abs(mixes.reshape(code.nodes, -1)) ** 2).sum(axis=1))
        assert np.abs(norms - 1).max() < 1e-12, f"{code!r}: mixes have norms {norms}."
    m, p, n = code.grid
    for inner in range(p):  # one block of A and one of B are 1, all others 0: their product
        for i in range(m):
            for j in range(n):
                answer = mixing.of_a[:, i, inner] * mixing.of_b[:, inner, j]
                solved, *_ = np.linalg.lstsq(code.frame._generator, _real(answer, code), rcond=None)
                wanted = code.frame.extraction @ solved
                right = np.zeros(m * n)
                right[i * n + j] = 1.0
                apart = np.abs(wanted - right).max()
                assert apart < 1e-9, f"{code!r}: block ({i}, {inner}, {j}) is decoded {wanted}."


def check_linearity(code: Product) -> None:
    """Shares are linear in the operand, and of its precision."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 7, 5))
    mixed = code.encode_a(2 * x - y)
    for node, (a, b) in enumerate(zip(code.encode_a(x), code.encode_a(y), strict=True)):
        apart = np.abs(mixed[node] - (2 * a - b)).max()
        assert apart < 1e-12, f"{code!r}: share {node} is not linear ({apart:.1e})."
    for dtype in (np.float32, np.float64):
        share = code.encode_b(x.astype(dtype))[0]
        assert share.real.dtype == dtype, f"{code!r}: a share of {dtype} is {share.dtype}."


def check_determinism(code: Product) -> None:
    """The order of results changes no bit, nothing is written into, twice gives the same."""
    trial = tried(code, np.float32)
    before = {node: result.copy() for node, result in trial.results.items()}
    first = trial.decode().values
    second = trial.decode(reversed(trial.results)).values
    assert first.tobytes() == second.tobytes(), f"{code!r} gives other bytes the second time."
    assert first.dtype == np.float32, f"{code!r} left float32 for {first.dtype}."
    first.fill(7.0)
    for node, result in trial.results.items():
        is_kept = result.tobytes() == before[node].tobytes()
        assert is_kept, f"{code!r} wrote into the result of node {node}."


def check_liars(code: Product) -> None:
    """Up to the probable limit liars who know nothing of each other are named, and more refused;
    those who agree are corrected up to the adversarial limit."""
    limits = code.most_liars()
    right, other = tried(code), tried(code, seed=1)
    for count in range(1, code.nodes + 1):
        every = list(subsets(code.nodes, count, SETS))
        for liars in every:
            rng = np.random.default_rng(count)
            lies = right.told({node: _noisy(right.results[node], rng) for node in liars})
            _judged(lies, liars, must=count <= limits.probable)
            if count <= limits.adversarial:
                lies = right.told({node: other.results[node] for node in liars})
                _judged(lies, liars, must=True)


def check_not_finite(code: Product) -> None:
    """A result that is not finite is a lie that is seen at once, if there is a node to spare."""
    trial = tried(code)
    for bad in (np.nan, np.inf):
        spoilt = trial.results[0].copy()
        spoilt.flat[0] = bad
        try:
            decoded = trial.told({0: spoilt}).decode()
        except REFUSALS:
            assert code.nodes == code.node_threshold, f"{code!r}: {bad} in node 0 is refused."
            continue
        assert decoded.liars == (0,), f"{code!r}: {bad} in node 0, and {decoded.liars} named."
        assert trial.is_right(decoded), f"{code!r}: {bad} in node 0 came out of decode."


CHECKS: tuple[Check, ...] = (
    check_configuration,
    check_rows,
    check_subsets,
    check_linearity,
    check_determinism,
    check_liars,
    check_not_finite,
)


def _real(answer: Array, code: Product) -> Array:
    return np.stack([answer.real, answer.imag], 1).ravel() if code.rows_per_node == 2 else answer


def _noisy(result: Array, rng: np.random.Generator) -> Array:
    error = rng.standard_normal(result.shape)
    if np.iscomplexobj(result):
        error = error + 1j * rng.standard_normal(result.shape)
    return np.asarray(result + error)


def _judged(trial: Trial, liars: tuple[int, ...], *, must: bool) -> None:
    code, decoded = trial.code, None
    with suppress(*REFUSALS):
        decoded = trial.decode()
    if decoded is None:
        assert not must, f"{code!r}: liars {liars} are within the limit, and refused."
        return
    assert must, f"{code!r}: liars {liars} are beyond the limit, and were believed."
    assert decoded.liars == liars, f"{code!r} names {decoded.liars}, not {liars}."
    assert trial.is_right(decoded), f"{code!r}: liars {liars} came out of decode."
