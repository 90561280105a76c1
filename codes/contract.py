"""The contract of a code, as checks that anybody may run: `check_code(code)`.

Each check takes a code and raises an AssertionError with a sentence. They judge structure, bits
and promises; what a code's formulas should be is for its own closed-form test.
"""

import ast
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import comb
from typing import Any, TypeVar

import numpy as np
import torch

from codes.base import BASE, Code, NotRecoverable
from codes.checks import MOST_SLOTS
from codes.contract_bits import (
    check_arguments_unchanged,
    check_determinism,
    check_groups_apart,
    check_linearity,
    check_not_finite,
    check_order,
    check_own_answers,
    check_some_answers,
    few_sets,
    noise,
    own_answers,
    same_bits,
    some_queries,
    some_results,
)
from codes.linear import LeastSquares
from codes.verify import MOST_SETS, subsets, verify

Check = Callable[[Code], None]
T = TypeVar("T")


def check_code(code: Code, checks: Sequence[Check] | None = None) -> None:
    """Run the contract, or some checks of it.

    Raises:
        AssertionError: the first check that fails, with the code and what it did.
        RuntimeError: under `python -O`, which would skip every check.
    """
    run_checks(code, CHECKS if checks is None else checks)


def run_checks(code: T, checks: Iterable[Callable[[T], None]]) -> None:
    """One check after the other, of a code of any kind; raises as `check_code`."""
    if not __debug__:
        raise RuntimeError("The contract is made of assertions: run it without -O.")
    for check in checks:
        try:
            check(code)
        except AssertionError:
            raise
        except Exception as error:  # a broken code may raise anything
            raise AssertionError(
                f"{code!r} raised {type(error).__name__} in {check.__name__}: {error}"
            ) from error


def check_shapes(code: Code) -> None:
    """n contiguous shards come out and k answers, for few and many groups of any shape."""
    assert code.k >= 1, f"{code!r}: k must be at least 1."
    assert 1 <= code.recovery_threshold <= code.n, f"{code!r}: threshold must be in 1..n."
    assert len(code.roles) == code.n, f"{code!r} must name {code.n} roles."
    assert len(code.own_slots) == code.k, f"{code!r} must list own slots of {code.k} answers."
    assert len(code.widths) == code.n, f"{code!r} must give {code.n} widths."
    for g in (1, 5):
        for shape in code.query_shapes:
            shards = code.encode(noise(g, code.q, *shape))
            assert len(shards) == code.n, f"{code!r} made {len(shards)} shards, not {code.n}."
            for slot, shard in enumerate(shards):
                is_query = code.roles[slot] != BASE or shard.shape[1:] == shape
                is_shard = is_query and shard.shape[:1] == (g,)
                assert is_shard, f"{code!r}: shard {slot} is {shard.shape}."
                assert shard.is_contiguous(), f"{code!r}: shard {slot} is not contiguous."
        for shape in code.answer_shapes:
            decoded = code.decode(some_results(code, g, shape), range(code.n))
            wanted = (g, code.k, *shape)
            assert decoded.shape == wanted, f"{code!r} decoded {decoded.shape}, not {wanted}."


def check_dtypes(code: Code) -> None:
    """Shards and answers keep the dtype, and half precision accumulates in float32."""
    fewest = range(code.n)[-code.recovery_threshold :]  # lacks as many own slots as may be
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        queries = some_queries(code, 3).to(dtype)
        shards = code.encode(queries)
        results = [result.to(dtype) for result in some_results(code, 3)]
        for slots in (range(code.n), fewest):
            given = [results[slot] for slot in slots]
            decoded = code.decode(given, slots)
            assert {t.dtype for t in (*shards, decoded)} == {dtype}, f"{code!r} left {dtype}."
            if dtype.itemsize == 2:
                wide = code.decode([result.float() for result in given], slots).to(dtype)
                is_wide = same_bits([decoded], [wide])
                assert is_wide, f"{code!r} rounds sums to {dtype} while adding up."
        if dtype.itemsize == 2:
            wide_shards = [shard.to(dtype) for shard in code.encode(queries.float())]
            assert same_bits(shards, wide_shards), f"{code!r} rounds shards while adding up."


def check_subsets(code: Code) -> None:
    """Every set of responders does what is promised: right, refused below the threshold."""
    seen = verify(code)
    for size, fates in enumerate(seen.fates, 1):
        count, wanted = sum(fates.values()), min(comb(code.n, size), MOST_SETS)
        assert count == wanted, f"{code!r}: {count} sets of {size} slots tried, not {wanted}."
    assert not seen.wrong, f"{code!r} is silently wrong, for one with slots {seen.wrong[:1]}."
    assert not seen.unkept, f"{code!r} refuses slots {seen.unkept[:1]}, enough by its threshold."


def check_threshold(code: Code) -> None:
    """Any slots of the threshold's number do, and with one fewer some set does not."""
    threshold = code.recovery_threshold
    for slots in subsets(code.n, threshold):
        assert code.recoverable(slots), f"{code!r}: threshold {threshold}, and {slots} do not do."
    tells_error = not code.exact and code.expected_error(range(code.n)) is not None
    estimates = tells_error or code.usual_responders > 1  # from fewer, and says so
    if threshold > 1 and not estimates:
        # Sampling may miss the few sets that fail: the worst lack all own slots of one answer.
        fewer = [*subsets(code.n, threshold - 1), *_without_an_own_slot(code, threshold - 1)]
        is_tight = any(not code.recoverable(slots) for slots in fewer)
        assert is_tight, f"{code!r}: {threshold - 1} slots always do, its threshold is too high."


def check_gain(code: Code) -> None:
    """Gains are 1 for own answers, and a further slot never loses an answer; least squares never
    raises a gain by it."""
    for slots in few_sets(code):
        gain = code.gain(slots)
        assert gain.shape == (code.k,), f"{code!r}: gain has shape {gain.shape}."
        assert gain.dtype == np.float64, f"{code!r}: gain is {gain.dtype}."
        assert (gain >= 0).all(), f"{code!r}: gain is {gain}."
        own = own_answers(code, slots)
        assert (gain[own] == 1).all(), f"{code!r}: gain {gain} for slots {slots}, own {own}."
        assert code.recoverable(slots) == bool((gain < np.inf).all()), (
            f"{code!r}: recoverable({slots}) must be that all gains are finite."
        )
        for slot in set(range(code.n)) - set(slots):
            more = code.gain((*slots, slot))
            lost = ~np.isfinite(more) & np.isfinite(gain)
            assert not lost.any(), f"{code!r}: slot {slot} joins {slots}, answers are lost."
            if isinstance(code, LeastSquares):
                decoded = [j for j in range(code.k) if j not in own_answers(code, (*slots, slot))]
                grown = more[decoded] > gain[decoded] * (1 + 1e-9)
                assert not grown.any(), f"{code!r}: slot {slot} joins {slots}, a gain grows."


def check_refusals(code: Code) -> None:
    """Slots that are none, doubled or out of range are refused by name, as are wrong shapes."""
    results = some_results(code, 2)
    everything = tuple(range(code.n))
    bad_slots = [(), (0, 0), (code.n,), (-1,)]
    for slots in bad_slots:
        named = str(slots[-1]) if slots else "at least 1"
        for ask in (code.gain, code.recoverable, code.expected_error):
            _refused(code, ask, slots, says=named)
        _refused(code, code.decode, results[: len(slots)], slots, says=named)
    for answers in ((), (0, 0), (code.k,), (-1,)):
        _refused(code, code.decode, results, everything, answers, says="answer")
    _refused(code, code.decode, results[:-1], everything, says=str(code.n))
    _refused(code, code.encode, torch.zeros(2, code.q + 1, 3), says=f"q = {code.q}")
    _refused(code, code.encode, torch.zeros(0, code.q, 3), says="g >= 1")
    _refused(code, code.encode, torch.zeros(2, code.q, 3, dtype=torch.int64), says="queries")
    if code.n > 1:
        odd = [*results[:-1], results[-1][:1]]
        _refused(code, code.decode, odd, everything, says=f"slot {code.n - 1}")
    for slots in few_sets(code):
        lost = tuple(j for j in range(code.k) if code.gain(slots)[j] == np.inf)
        if lost:
            error = _refused(code, code.decode, [results[s] for s in slots], slots, says="slots")
            is_told = isinstance(error, NotRecoverable) and error.lost_answers == lost
            assert is_told, f"{code!r}: {slots} must raise NotRecoverable with answers {lost}."


def check_expected_error(code: Code) -> None:
    """Expected errors are unknown, or 0 for own answers, in 0..1, and never grow with a slot."""
    for slots in few_sets(code):
        error = code.expected_error(slots)
        if error is None:
            assert not code.exact, f"{code!r} is exact, so its errors are known."
            continue
        assert error.shape == (code.k,), f"{code!r}: expected error has shape {error.shape}."
        assert (error[own_answers(code, slots)] == 0).all(), f"{code!r}: own answers have an error."
        is_decoded = code.gain(slots) < np.inf
        assert ((error >= 0) & ((error <= 1) | ~is_decoded)).all(), f"{code!r}: error {error}."
        assert (~is_decoded == (error == np.inf)).all(), f"{code!r}: error {error} for {slots}."
        for slot in set(range(code.n)) - set(slots):
            more = code.expected_error((*slots, slot))
            assert more is not None, f"{code!r} knows errors of some slots only."
            assert (more <= error + 1e-9).all(), f"{code!r}: slot {slot} adds error to {slots}."


def check_configuration(code: Code) -> None:
    """The repr is the configuration, equal codes are equal, and bad sizes are refused by name."""
    assert dataclasses.is_dataclass(code), f"{code!r} must be a frozen dataclass."
    assert not isinstance(code, type)
    assert dataclasses.replace(code) == code, f"{code!r} does not equal its copy."
    hash(code)
    call = ast.parse(repr(code), mode="eval").body
    assert isinstance(call, ast.Call), f"{code!r} must show itself as a call."
    if any(isinstance(word.value, ast.Call) for word in call.keywords):
        return  # wraps another code, which has its own check
    shown: dict[str, Any] = {w.arg: ast.literal_eval(w.value) for w in call.keywords if w.arg}
    configured = {field.name for field in dataclasses.fields(code) if field.init}
    assert set(shown) == configured, f"{code!r} must show exactly {sorted(configured)}."
    again = type(code)(**shown)
    assert again == code, f"{code!r} is not made by its repr."
    assert repr(again) == repr(code), f"{code!r} changes its repr to {again!r}."
    for argument, value in (("k", 0), ("k", -1), ("n", code.k - 1), ("n", MOST_SLOTS + 1)):
        if argument in shown and (argument, value) != ("n", 0):
            wrong = {**shown, argument: value}
            _refused(code, type(code), says=f"'{argument}'", **wrong)
    for argument in {"k", "n"} & set(shown):
        _refused(code, type(code), says=argument, **{**shown, argument: "4"})


CHECKS: tuple[Check, ...] = (
    check_configuration,
    check_shapes,
    check_dtypes,
    check_subsets,
    check_threshold,
    check_gain,
    check_own_answers,
    check_not_finite,
    check_order,
    check_refusals,
    check_arguments_unchanged,
    check_linearity,
    check_determinism,
    check_groups_apart,
    check_some_answers,
    check_expected_error,
)


def _without_an_own_slot(code: Code, size: int) -> Iterator[tuple[int, ...]]:
    for own in code.own_slots:
        rest = [slot for slot in range(code.n) if slot not in own]
        if own and len(rest) >= size:
            yield tuple(rest[:size])


def _refused(
    code: Code, ask: Callable[..., object], *arguments: object, says: str, **named: object
) -> ValueError | TypeError:
    refusal: ValueError | TypeError | None = None
    try:
        ask(*arguments, **named)
    except (ValueError, TypeError) as error:  # the latter where annotations are checked
        refusal = error
    assert refusal is not None, f"{code!r}: {ask} must refuse {arguments or named}."
    assert says in str(refusal), f"{code!r}: {refusal} does not name {says!r}."
    return refusal
