"""Walks the sets of responders of a code and tells what became of each: does it keep its promise?

Pure, for `kofn codes verify` and for `codes.contract`. Truth is what the code says of itself: an
exact code must give the answers of a non-linear program; an approximate one is held to the case
where it must be exact (`Code.exact_case`), and a calibrated one to its expected errors, on answers
and results drawn with the moments that it was given. Of an approximate code it says nothing of the
accuracy on a network.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb, prod, sqrt
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from codes.base import BASE, Code
from codes.calibrated import Calibrated
from codes.exact_case import ExactCase
from codes.linear import LinearDecoding

SETS_TRIED = 8  # by `program_error`
MOST_SETS = 300  # of one size; beyond it a seeded sample of that many
DRAWN = 2000  # groups for expected errors: a mean square is then within 16 % at five sigma
SLACK, FLOOR = 1.2, 0.002  # a measured error may exceed the expected one by this factor, and this

Fate = Literal["decoded", "estimated", "refused", "wrong"]


@dataclass(frozen=True)
class Verification:
    """What became of the sets of responders.

    Attributes:
        code: its repr.
        says: what it was held to.
        threshold: its recovery threshold.
        fates: per number of responders from 1 to n, how many sets met which fate. decoded: all k
            answers, and right. estimated: all k, some of them beyond what can be checked. refused:
            some answers were refused and the others right. wrong: an answer was given as if it
            were right, and is not.
        unkept: sets of at least the threshold that were refused (the first few).
        wrong: sets that were decoded wrong (the first few).
    """

    code: str
    says: str
    threshold: int
    fates: tuple[dict[str, int], ...]
    unkept: tuple[tuple[int, ...], ...]
    wrong: tuple[tuple[int, ...], ...]

    @property
    def exit_code(self) -> int:
        """0: all as promised; 1: refused what it should decode; 3: silently wrong."""
        return 3 if self.wrong else 1 if self.unkept else 0

    def lines(self) -> list[str]:
        """For a terminal: a table, and a verdict that names a set."""
        titles = ("slots", "sets", "decoded", "estimated", "refused", "wrong")
        lines = [
            self.code,
            f"held to: {self.says}",
            "".join(f"{title:>11}" for title in titles),
        ]
        for size, fates in enumerate(self.fates, 1):
            cells = (size, sum(fates.values()), *(fates.get(fate, 0) for fate in titles[2:]))
            mark = "  <- recovery threshold" if size == self.threshold else ""
            lines.append("".join(f"{cell:>11}" for cell in cells) + mark)
        if self.wrong:
            lines.append(f"SILENTLY WRONG, for one with slots {self.wrong[0]}.")
        elif self.unkept:
            lines.append(f"REFUSED what it should decode, for one slots {self.unkept[0]}.")
        else:
            lines.append("As promised.")
        return lines


def verify(code: Code, *, most_sets: int = MOST_SETS, seed: int = 0) -> Verification:
    """Try the sets of responders: all of a size, or a seeded sample of `most_sets` of them."""
    trial = _drawn(code, seed) if isinstance(code, Calibrated) else _made(code, seed)
    return walked(
        lambda slots: _fate(code, trial, slots), (repr(code), code.exact_case.says), code.n,
        code.recovery_threshold, most_sets, seed,
    )  # fmt: skip


def walked(
    fate_of: Callable[[tuple[int, ...]], Fate],
    names: tuple[str, str],
    n: int,
    threshold: int,
    most_sets: int,
    seed: int,
) -> Verification:
    """What becomes of sets of n responders; `names` are a code's repr and what it is held to."""
    fates, unkept, wrong = [], [], []
    for size in range(1, n + 1):
        count: Counter[str] = Counter()
        for slots in subsets(n, size, most_sets, seed):
            fate = fate_of(slots)
            count[fate] += 1
            if fate == "wrong":
                wrong.append(slots)
            elif fate == "refused" and size >= threshold:
                unkept.append(slots)
        fates.append(dict(count))
    return Verification(*names, threshold, tuple(fates), tuple(unkept[:10]), tuple(wrong[:10]))


def subsets(n: int, size: int, most: int = MOST_SETS, seed: int = 0) -> Iterator[tuple[int, ...]]:
    """All sets of `size` slots out of n, or `most` different ones drawn with a seed."""
    if comb(n, size) <= most:
        yield from combinations(range(n), size)
        return
    rng, seen = np.random.default_rng(seed), set[tuple[int, ...]]()
    while len(seen) < most:
        drawn = tuple(sorted(int(slot) for slot in rng.choice(n, size, replace=False)))
        if drawn not in seen:
            seen.add(drawn)
            yield drawn


def tolerance(code: Code, slots: tuple[int, ...], results: list[Tensor]) -> float:
    """What rounding may do to a decoded answer: 8 eps sqrt(s) max gain max|result|."""
    gain = code.gain(slots)
    largest = max(float(result.abs().max()) for result in results)
    most = max(1.0, float(gain[np.isfinite(gain)].max(initial=0.0)))
    return 8 * torch.finfo(results[0].dtype).eps * sqrt(len(slots)) * most * largest


def linear(queries: Tensor) -> Tensor:
    """A linear program of the last axis that does not amplify: [..., e] -> [..., e]."""
    return 0.5 * queries + 0.25 * queries.roll(1, -1)


def bent(queries: Tensor) -> Tensor:
    """A program that no code decodes by luck."""
    return torch.tanh(linear(queries)) + 0.25


def _program_of(case: ExactCase) -> Callable[[Tensor], Tensor]:
    """A program that a code must be exact for, and as little more as can be."""
    if case.program == "any":
        return bent
    if case.program == "linear":
        return linear
    lower = 0.0 if case.program == "homogeneous" else 1.0

    def polynomial(queries: Tensor) -> Tensor:
        inner = linear(queries)
        return inner**case.degree + lower * (0.5 * inner + 0.25)

    return polynomial


@dataclass(frozen=True)
class Trial:
    """Groups with what the slots return and what the answers are."""

    results: list[Tensor]  # n of [g, *answer]
    truth: Tensor  # [g, k, *answer]
    variance: np.ndarray | None = None  # [k], where errors are compared with expected ones


def exact_groups(case: ExactCase, g: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Groups of the exact case, float32 [g, q, *shape]."""
    basis = np.array(case.groups)
    mixed = np.random.default_rng(seed).uniform(-1, 1, (g, prod(shape), len(basis))) @ basis
    return torch.from_numpy(mixed.transpose(0, 2, 1).copy()).float().reshape(g, -1, *shape)


def program_error(
    code: Code, program: Callable[[Tensor], Tensor], shape: tuple[int, ...], seed: int = 0
) -> float:
    """How far the code is from exact for a program: numerically, on one random group a set.

    Answers are decoded from random sets of as few slots as always suffice. For a program that the
    code is exact for it is rounding; for another it is as large as the answers, or nearly.

    Args:
        code: whose slots run the base program.
        program: [b, *shape] to [b, *answer].
        shape: of a query; its entries are drawn from 0..1.

    Returns:
        The largest error over the largest entry of an answer, both of the sets together.
    """
    generator = torch.Generator().manual_seed(seed)
    needed = code.recovery_threshold
    worst, largest = 0.0, 0.0
    for slots in subsets(code.n, needed, SETS_TRIED, seed):
        queries = torch.rand(1, code.q, *shape, generator=generator)
        truth = program(queries[0])
        shards = code.encode(queries)
        decoded = code.decode([program(shards[slot]) for slot in slots], slots)[0]
        worst = max(worst, float((decoded - truth).abs().max()))
        largest = max(largest, float(truth.abs().max()))
    return worst / largest if largest else worst


def respond(code: Code, queries: Tensor, program: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """What the slots return: the base program's answers, and of other roles what they should be.

    Args:
        code: its slots that do not run the base program return their `responses`.
        queries: [g, q, *query].
        program: [..., *query] to [..., *answer].
    """
    answers = answers_of(code, queries, program)
    results = []
    for slot, shard in enumerate(code.encode(queries)):
        if code.roles[slot] == BASE or not isinstance(code, LinearDecoding):
            results.append(program(shard))
            continue
        ideal = torch.from_numpy(code.responses[code.rows_of([slot])]).to(answers.dtype)
        rows = torch.einsum("mk,gk...->gm...", ideal, answers)
        results.append(rows if code.widths[slot] else rows[:, 0])
    return results


def answers_of(code: Code, queries: Tensor, program: Callable[[Tensor], Tensor]) -> Tensor:
    """The k answers of each group, [g, k, *answer]: a further model's are the first's, turned."""
    first = program(queries)
    return torch.cat([first.roll(turn, -1) for turn in range(len(code.model_roles))], 1)


def _made(code: Code, seed: int) -> Trial:
    case, shape, answer = code.exact_case, code.query_shapes[-1], code.answer_shapes[-1]
    bend = _program_of(case)
    queries = exact_groups(case, 3, shape, seed).double()

    def program(x: Tensor) -> Tensor:
        """Keeps the shape, where answers may have any."""
        if len(code.answer_shapes) > 1:
            return bend(x)
        ahead = x.shape[: x.ndim - len(shape)]
        return bend(x.reshape(*ahead, -1)[..., : prod(answer)]).reshape(*ahead, *answer)

    results = [result.float() for result in respond(code, queries, program)]
    return Trial(results, answers_of(code, queries, program).float())


def _drawn(code: Calibrated, seed: int) -> Trial:
    """Normal answers and results with the measured means and covariances."""
    m = code.moments
    joint = np.block([[m.answer_cov, m.cross_cov], [m.cross_cov.T, m.result_cov]])
    values, vectors = np.linalg.eigh(joint)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    drawn = np.random.default_rng(seed).standard_normal((DRAWN, len(joint))) @ root.T
    one = (1,) * (m.answer_mean.ndim - 1)
    truth = torch.from_numpy(m.answer_mean + drawn[:, : code.k].reshape(DRAWN, code.k, *one))
    results = torch.from_numpy(m.result_mean + drawn[:, code.k :].reshape(DRAWN, m.rows, *one))
    slots = [
        results[:, code.rows_of([slot])] if width else results[:, code.rows_of([slot])[0]]
        for slot, width in enumerate(code.widths)
    ]
    for answer, own in enumerate(code.own_slots):
        for slot in own:
            slots[slot] = truth[:, answer]
    return Trial(slots, truth, np.diag(m.answer_cov))


def _fate(code: Code, trial: Trial, slots: tuple[int, ...]) -> Fate:
    gain = code.gain(slots)
    answers = [j for j in range(code.k) if np.isfinite(gain[j])]
    if not answers:
        return "refused"
    results = [trial.results[slot] for slot in slots]
    decoded = code.decode(results, slots, answers)
    case = code.exact_case
    refuses = case.needs == code.recovery_threshold and code.usual_responders == 1
    is_held = len(slots) >= case.needs or refuses
    is_estimate = False
    expected = code.expected_error(slots)
    limit = tolerance(code, slots, results)
    for i, j in enumerate(answers):
        given, truth = decoded[:, i], trial.truth[:, j]
        if any(slot in slots for slot in code.own_slots[j]):
            is_right = torch.equal(given, truth)
        elif trial.variance is not None and expected is not None:
            error = float((given - truth).square().mean()) / max(float(trial.variance[j]), 1e-300)
            is_right = error <= SLACK * float(expected[j]) + FLOOR
            is_estimate = True
        elif is_held:
            is_right = bool(((given - truth).abs() <= limit).all())
        else:
            is_right, is_estimate = True, True
        if not is_right:
            return "wrong"
    if len(answers) < code.k:
        return "refused"
    return "estimated" if is_estimate else "decoded"
