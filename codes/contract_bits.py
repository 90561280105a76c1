"""The checks of the contract that look at tensors bit by bit; `codes.contract` runs them.

Each takes a code and raises an AssertionError with a sentence.
"""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from codes.base import Code
from codes.linear import LinearDecoding
from codes.verify import subsets, tolerance

FEW_SETS = 20  # of a size, for the checks that are the same for all sets


def check_own_answers(code: Code) -> None:
    """Own answers are copies bit for bit, and results that are not finite touch only their own."""
    results = [torch.exp(result) for result in some_results(code, 3)]
    for slots in few_sets(code):
        own = own_answers(code, slots)
        if not own:
            continue
        sick = {code.own_slots[j][0] for j in own[1:]}  # NaN in all but the first answer's slots
        given = [results[s] * (torch.nan if s in sick else 1.0) for s in slots]
        decoded = code.decode(given, slots, own)
        for i, j in enumerate(own):
            slot = next(s for s in code.own_slots[j] if s in slots)
            is_copy = same_bits([decoded[:, i]], [given[slots.index(slot)]])
            assert is_copy, f"{code!r}: answer {j} of slots {slots} is not slot {slot}'s result."


def check_not_finite(code: Code) -> None:
    """A result that is not finite is refused by name where it would spoil a decoded answer."""
    results = some_results(code, 2)
    for slots in few_sets(code):
        gain, own = code.gain(slots), own_answers(code, slots)
        answers = [j for j in range(code.k) if gain[j] < np.inf and j not in own]
        for slot in slots if answers else ():
            for bad in (torch.nan, torch.inf):
                given = [results[s].clone() for s in slots]
                given[slots.index(slot)].view(-1)[0] = bad
                blamed, is_clean = "", True
                try:
                    is_clean = bool(torch.isfinite(code.decode(given, slots, answers)).all())
                except ValueError as error:
                    blamed = str(error)
                assert is_clean, f"{code!r}: {bad} in slot {slot} came out of decode."
                is_named = not blamed or f"slot {slot} " in blamed
                assert is_named, f"{code!r} blames another than slot {slot}: {blamed}"


def check_order(code: Code) -> None:
    """The order of the slots changes no bit, and that of the answers only their places."""
    results = some_results(code, 2)
    for slots in few_sets(code):
        answers = [j for j in range(code.k) if code.gain(slots)[j] < np.inf]
        if not answers:
            continue
        straight = code.decode([results[s] for s in slots], slots, answers)
        mixed = [*slots[1::2], *slots[::-2]] if len(slots) % 2 else [*slots[::-1]]
        again = code.decode([results[s] for s in mixed], mixed, answers)
        assert same_bits([straight], [again]), f"{code!r}: slots {mixed} decode unlike {slots}."
        turned = code.decode([results[s] for s in slots], slots, answers[::-1])
        limit = tolerance(code, slots, [results[s] for s in slots])
        apart = float((turned.flip(1) - straight).abs().max())
        assert apart <= limit, f"{code!r}: answers {answers[::-1]} are in wrong places."
        assert (code.gain(mixed) == code.gain(slots)).all(), f"{code!r}: gain depends on order."


def check_some_answers(code: Code) -> None:
    """Asking for one answer gives what asking for all gives, and needs only that one."""
    results = some_results(code, 2)
    for slots in few_sets(code):
        given, gain = [results[s] for s in slots], code.gain(slots)
        answers = [j for j in range(code.k) if gain[j] < np.inf]
        together = code.decode(given, slots, answers) if answers else None
        for i, j in enumerate(answers):
            alone = code.decode(given, slots, (j,))
            apart = float((alone[:, 0] - together[:, i]).abs().max())  # type: ignore[index]
            assert apart <= tolerance(code, slots, given), f"{code!r}: answer {j} alone differs."


def check_arguments_unchanged(code: Code) -> None:
    """Queries, results and lists are left as they were."""
    queries, slots = some_queries(code, 2), list(range(code.n))[::-1]
    before = queries.clone()
    code.encode(queries)
    results = some_results(code, 2)[::-1]
    kept, listed = [result.clone() for result in results], list(results)
    decoded = code.decode(results, slots)
    decoded.fill_(7.0)
    assert same_bits([queries], [before]), f"{code!r} wrote into the queries."
    assert same_bits(results, kept), f"{code!r} wrote into a result, or answers share its memory."
    is_list_kept = all(a is b for a, b in zip(results, listed, strict=True))
    assert is_list_kept, f"{code!r} changed the list of results."
    assert slots == list(range(code.n))[::-1], f"{code!r} changed the list of slots."


def check_linearity(code: Code) -> None:
    """Shards of a linear code are linear in the queries, its answers affine in the results."""
    if not isinstance(code, LinearDecoding):
        return
    x, y = some_queries(code, 2, seed=1).double(), some_queries(code, 2, seed=2).double()
    sums = code.encode(2 * x - y)
    parts = zip(code.encode(x), code.encode(y), strict=True)
    for slot, (a, b) in enumerate(parts):
        apart = float((sums[slot] - (2 * a - b)).abs().max())
        assert apart <= 1e-12, f"{code!r}: shard {slot} is not linear in the queries ({apart:.1e})."
    slots = tuple(range(code.n))
    r = [result.double() for result in some_results(code, 2)]
    zero = code.decode([torch.zeros_like(a) for a in r], slots)
    twice = code.decode([2 * a for a in r], slots) - zero
    limit = 1e-12 * float(code.gain(slots).max())
    apart = float((twice - 2 * (code.decode(r, slots) - zero)).abs().max())
    assert apart <= max(limit, 1e-12), f"{code!r}: answers are not affine in the results."


def check_determinism(code: Code) -> None:
    """The same arguments give the same bytes, twice and from two threads at once."""
    queries, results, slots = some_queries(code, 3), some_results(code, 3), tuple(range(code.n))
    fewest = slots[-code.recovery_threshold :]  # lacks as many own slots as may be

    def both(_: int) -> list[Tensor]:
        fresh = dataclasses.replace(code)  # type: ignore[type-var]  # codes are dataclasses
        made = []
        for which in (fresh, code):
            made += [*which.encode(queries), which.decode(results, slots)]
            made.append(which.decode([results[slot] for slot in fewest], fewest))
        return made

    first = both(0)
    # torch's thread count is of each thread, and a product that is split rounds differently.
    with ThreadPoolExecutor(2, "check", torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        for other in pool.map(both, range(4)):
            assert same_bits(first, other), f"{code!r} gives other bytes the second time."


def check_groups_apart(code: Code) -> None:
    """A group's shards and answers do not depend on the other groups of its batch."""
    queries, results = some_queries(code, 3), some_results(code, 3)
    one, two = code.encode(queries), code.encode(_disturbed(queries))
    assert same_bits([a[1] for a in one], [b[1] for b in two]), f"{code!r}: groups mix in encode."
    for slots in few_sets(code):
        if not code.recoverable(slots):
            continue
        given = [results[slot] for slot in slots]
        a = code.decode(given, slots)[1]
        b = code.decode([_disturbed(result) for result in given], slots)[1]
        assert same_bits([a], [b]), f"{code!r}: groups mix in decode."
    alone = code.encode(queries[1:2])
    far = max(float((x[1] - y[0]).abs().max()) for x, y in zip(one, alone, strict=True))
    assert far <= 1e-5, f"{code!r}: a group alone has other shards ({far:.1e})."


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Seeded normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same_bits(some: list[Tensor], others: list[Tensor]) -> bool:
    """Whether all bits are equal; NaN equals NaN."""
    return all(
        a.shape == b.shape and a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes()
        if a.dtype != torch.bfloat16
        else torch.equal(a, b)
        for a, b in zip(some, others, strict=True)
    )


def own_answers(code: Code, slots: tuple[int, ...]) -> list[int]:
    """Answers with an own slot among these."""
    return [j for j, own in enumerate(code.own_slots) if set(own) & set(slots)]


def few_sets(code: Code) -> Iterator[tuple[int, ...]]:
    """Some sets of responders of every size."""
    for size in range(1, code.n + 1):
        yield from subsets(code.n, size, FEW_SETS)


def some_queries(code: Code, g: int, seed: int = 0) -> Tensor:
    """Seeded queries [g, q, *query]."""
    return noise(g, code.q, *code.query_shapes[-1], seed=seed)


def some_results(code: Code, g: int, shape: tuple[int, ...] | None = None) -> list[Tensor]:
    """Seeded results of every slot, for answers of a shape."""
    answer = code.answer_shapes[-1] if shape is None else shape
    return [
        noise(g, *((width, *answer) if width else answer), seed=10 + slot)
        for slot, width in enumerate(code.widths)
    ]


def _disturbed(groups: Tensor) -> Tensor:
    """All but the group in the middle changed."""
    others = groups.clone()
    others[0], others[2] = 1e3, -5.0
    return others
