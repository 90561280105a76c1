"""What the bars of coded products are measured by: each function is a section of the table."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from bench.polydot.outcome import Outcome
from bench.polydot.trials import INDEPENDENT, RELATED, dense, lie_of, made, spoilt
from codes.polydot import Inaccurate, NotRecoverable, Product, TooManyErrors
from codes.polydot.families import FAMILIES, scattered
from codes.polydot.product import fewest_nodes
from codes.polydot.verify import Trial
from codes.verify import subsets

ANY_ERROR = 0.5  # an estimate that is accepted where the error itself is what is measured
Grid = tuple[int, int, int]
REFUSALS = (NotRecoverable, Inaccurate, TooManyErrors)
MOST_NODES = 40  # of a trial
SIZES = {np.float32: (-9.0, 6.0), np.float64: (-17.0, 6.0)}  # of lies: from far below rounding


def exact(family: str, most_blocks: int, losses: int, seed: int) -> Outcome:
    """Every grid of blocks, two nodes more than are needed, two lost: random pairs, and all pairs
    that stand next to each other, which are the worst."""
    worst = {np.float64: 0.0, np.float32: 0.0}
    typical: dict[type, list[float]] = {np.float64: [], np.float32: []}
    sets, over = 0, set[Grid]()
    for grid in _grids(most_blocks):
        code = Product(*grid, _needed(grid, family) + 2, family)
        for dtype in (np.float64, np.float32):
            trial = made(code, dtype, seed=seed)
            for lost in _pairs(code.nodes, losses, seed):
                kept = [node for node in range(code.nodes) if node not in lost]
                error = trial.error(trial.decode(kept, max_error=np.inf, most_liars=0))
                worst[dtype] = max(worst[dtype], error)
                typical[dtype].append(error)
                sets += 1
                if dtype is np.float32 and error > 1e-5:
                    over.add(grid)
    median = {dtype: float(np.median(errors)) for dtype, errors in typical.items()}
    largest = max(over, default=None, key=lambda grid: -np.prod(grid))
    said = f"; over 1e-5 from (m, p, n) = {largest} on" if largest else ""
    return Outcome(
        f"{family}: all (m, p, n) up to {most_blocks}, K + 2 nodes, any 2 lost ({sets} sets)",
        f"float64 {median[np.float64]:.0e}, worst {worst[np.float64]:.1e}; "
        f"float32 {median[np.float32]:.0e}, worst {worst[np.float32]:.1e}{said}",
        {
            "float64 <= 1e-12": worst[np.float64] <= 1e-12,
            "float32 <= 1e-5": worst[np.float32] <= 1e-5,
        },
        {
            "sets": sets,
            "worst": [worst[np.float64], worst[np.float32]],
            "median": [median[np.float64], median[np.float32]],
            "over": sorted(over),
        },
    )


def sixty(family: str, most_blocks: int, seed: int) -> Outcome:
    """60 nodes, all of which answer, in float32."""
    errors = {}
    for grid in _grids(most_blocks):
        if fewest_nodes(grid, family) <= 60:
            trial = made(Product(*grid, 60, family), np.float32, (40, 36, 40), seed)
            errors[grid] = trial.error(trial.decode(max_error=np.inf))
    worst = max(errors, key=errors.__getitem__)
    return Outcome(
        f"{family}: 60 nodes, all answer, {len(errors)} grids up to {most_blocks}, float32",
        f"worst {errors[worst]:.1e}, at (m, p, n) = {worst}",
        {"<= 3e-7": errors[worst] <= 3e-7},
        {"grids": len(errors), "worst": errors[worst], "grid": worst},
    )


def located(grid: Grid, nodes: int, family: str, trials: int, seed: int) -> Outcome:
    """Dense errors as large as the results, at every number of nodes."""
    code = Product(*grid, nodes, family)
    limit = code.most_liars().probable
    found: Counter[str] = Counter()
    worst = 0.0
    for liars, trial in _spoilt(code, range(1, limit + 1), trials, np.float64, seed):
        try:
            decoded = trial.decode(max_error=ANY_ERROR)
        except REFUSALS:
            found["refused"] += 1
            continue
        found["located" if decoded.liars == liars else "missed"] += 1
        worst = max(worst, trial.error(decoded))
    for _, trial in _spoilt(code, range(limit + 1, nodes + 1), trials, np.float64, seed):
        try:
            trial.decode(max_error=ANY_ERROR)
            found["passed"] += 1
        except REFUSALS:
            found["beyond"] += 1
    below = found["located"] + found["missed"] + found["refused"]
    above = found["beyond"] + found["passed"]
    return Outcome(
        f"{code.kind} {grid}, {nodes} nodes, K = {code.threshold}: dense errors, float64",
        f"1..{limit}: {found['located']} of {below} located, worst error {worst:.0e}; "
        f"more: {found['beyond']} of {above} refused",
        {"all located": found["located"] == below, "all refused": found["beyond"] == above},
        {"limit": limit, "worst": worst, **found},
    )


def majority(dtype: str, trials: int, seed: int) -> Outcome:
    """34 of 60 nodes lie, each differently."""
    code = Product(5, 1, 5, 60, "rkrp")
    kind = np.dtype(dtype).type
    located, worst, estimate = 0, 0.0, 0.0
    for liars, trial in _spoilt(code, [34], trials, kind, seed, (50, 20, 50)):
        decoded = trial.decode(max_error=ANY_ERROR)
        located += decoded.liars == liars
        worst, estimate = max(worst, trial.error(decoded)), max(estimate, decoded.estimate)
    return Outcome(
        f"rkrp (5, 1, 5), 60 nodes, 34 of them wrong, {dtype}",
        f"{located} of {trials} corrected, worst error {worst:.0e}, its estimate {estimate:.0e}",
        {"all corrected": located == trials, "error <= 1e-5": worst <= 1e-5},
        {"located": located, "worst": worst, "estimate": estimate},
    )


def agreeing(grid: Grid, nodes: int, family: str, seed: int) -> Outcome:
    """Nodes that agree on another product: how many are corrected, from how many on refused, and
    from how many on believed, which no code can help."""
    code = Product(*grid, nodes, family)
    fates = []
    for count in range(1, nodes + 1):
        right, other = made(code, seed=seed), made(code, seed=seed + 1)
        trial = right.told(dict(list(other.results.items())[:count]))
        try:
            decoded = trial.decode()
            fates.append("corrected" if trial.error(decoded) < 1e-9 else "believed")
        except REFUSALS:
            fates.append("refused")
    corrected = next((i for i, fate in enumerate(fates) if fate != "corrected"), nodes)
    believed = fates.index("believed") + 1 if "believed" in fates else nodes + 1
    limit = code.most_liars().adversarial
    return Outcome(
        f"{code.kind} {grid}, {nodes} nodes, K = {code.threshold}: liars that agree",
        f"1..{corrected} corrected, {corrected + 1}..{believed - 1} refused, from {believed} "
        f"on believed",
        {f"1..{limit} corrected": corrected >= limit},
        {"fates": fates, "limit": limit},
    )


def silent(kind: str, trials: int, seed: int) -> Outcome:
    """Random codes, sizes, precisions, losses, and lies of one kind and any size; who asks says
    that some may lie. Wrong is what differs by more than its estimate."""
    fates: Counter[str] = Counter()
    ratios = []
    for number in range(trials):
        rng = np.random.default_rng((seed, number))
        trial, most = _random(kind, rng)
        try:
            with np.errstate(all="ignore"):  # flipped bits overflow
                decoded = trial.decode(most_liars=most)
        except REFUSALS as error:
            fates[type(error).__name__] += 1
            continue
        ratio = trial.error(decoded) / max(decoded.estimate, 1e-300)
        ratios.append(ratio)
        fates["wrong" if ratio > 1 else "right"] += 1
    refused = trials - fates["right"] - fates["wrong"]
    return Outcome(
        f"{kind}: {trials} random trials",
        f"{fates['right']} within the estimate, {refused} refused, {fates['wrong']} wrong; error "
        f"over estimate {np.median(ratios):.2g}, largest {max(ratios):.2g}",
        {"0 wrong": fates["wrong"] == 0},
        {**fates, "largest_ratio": float(max(ratios)), "median_ratio": float(np.median(ratios))},
    )


def _grids(most: int) -> Iterator[Grid]:
    sizes = range(1, most + 1)
    yield from product(sizes, sizes, sizes)


def _needed(grid: Grid, family: str) -> int:
    return Product(*grid, 256, family).node_threshold


def _pairs(nodes: int, count: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Random pairs of nodes, and all pairs on neighbouring points."""
    yield from subsets(nodes, 2, count, seed)
    order = np.argsort(scattered(nodes)).tolist()
    yield from zip(order, [*order[1:], order[0]], strict=True)


def _spoilt(
    code: Product, counts: Any, trials: int, dtype: type, seed: int,
    size: tuple[int, int, int] | None = None,
) -> Iterator[tuple[tuple[int, ...], Trial]]:  # fmt: skip
    """Products with so many liars, each number `trials` times; blocks large enough for as many."""
    m, p, n = code.grid
    side = max(8, math.ceil(math.sqrt(code.nodes * code.rows_per_node)))  # or no more are apart
    usual = (side * m, 3 * p, side * n) if size is None else size
    for count in counts:
        for turn in range(trials):
            rng = np.random.default_rng((seed, count, turn))
            liars = tuple(sorted(rng.choice(code.nodes, count, replace=False).tolist()))
            yield liars, spoilt(made(code, dtype, usual, seed + turn), liars, dense(rng))


def _random(kind: str, rng: np.random.Generator) -> tuple[Trial, int]:
    """A product with random lies of a kind, and how many whoever asks is ready for."""
    while True:
        family = str(rng.choice(["auto", *FAMILIES]))
        grid = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        nodes = _needed(grid, family) + int(rng.integers(1, 13))
        if nodes <= MOST_NODES:
            break
    code = Product(*grid, nodes, family)
    dtype = np.float32 if rng.random() < 0.5 else np.float64
    size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    trial = made(code, dtype, size, int(rng.integers(2**32)))
    lost = int(rng.integers(0, min(2, code.most_liars().probable) + 1))
    gone = rng.choice(nodes, lost, replace=False).tolist()
    limits = code.most_liars(lost)
    most = limits.probable + 1 if kind in INDEPENDENT else limits.adversarial
    if kind not in INDEPENDENT and kind not in RELATED:
        most += 1  # another's block: related, and not agreed on
    liars = rng.choice(nodes, int(rng.integers(0, most + 1)), replace=False)
    lowest, highest = SIZES[dtype]
    lie = lie_of(kind, rng, 10.0 ** rng.uniform(lowest, highest), trial)
    with np.errstate(all="ignore"):
        trial = spoilt(trial, liars, lie)
    kept = {node: result for node, result in trial.results.items() if node not in gone}
    ready = int(rng.integers(1, max(1, limits.probable) + 1))
    return replace(trial, results=kept), ready
