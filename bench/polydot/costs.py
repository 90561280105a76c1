"""What coding costs beside one node's product: to encode for all nodes, to detect, to decode."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.polydot.outcome import Outcome
from codes.polydot import Layer, Product, product_noise, worst
from codes.polydot.product import Array, all_mixed

MOST_SHARE = 0.2  # of a node's product, all together
PARTS = ("encode", "detect", "decode")  # to decode is to detect first
Grid = tuple[int, int, int]
Seconds = dict[str, float]


def cost(grid: Grid, nodes: int, family: str, size: int, turns: int, seed: int) -> Outcome:
    """A product of square float32 matrices; the quickest of some turns."""
    code = Product(*grid, nodes, family)
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))

    def encoded() -> list[tuple[Array, Array]]:
        return list(zip(code.encode_a(a), code.encode_b(b), strict=True))

    took = {"encode": min(_took(encoded) for _ in range(turns))}
    shares = encoded()
    took["product"] = min(_took(lambda: shares[0][0] @ shares[0][1]) for _ in range(turns))
    noise = worst([product_noise(*pair) for pair in shares])
    results = {node: a_share @ b_share for node, (a_share, b_share) in enumerate(shares)}
    took["detect"] = min(
        _took(lambda: code.frame.locate(results, noise.sigma)) for _ in range(turns)
    )
    took["decode"] = min(
        _took(lambda: code.decode(results, noise, (size, size))) for _ in range(turns)
    )
    says, share = _shares(took)
    return Outcome(
        f"{code.kind} {grid}, {nodes} nodes: {size} x {size} float32",
        says,
        {f"< {MOST_SHARE:.0%}": share < MOST_SHARE},
        {"seconds": took, "share": share},
    )


def layer(
    blocks: tuple[int, int], nodes: int, size: int, batch: int, turns: int, seed: int
) -> Outcome:
    """Both passes of a layer whose weight lies encoded on the nodes; the median of some turns."""
    code = Layer(*blocks, nodes)
    rng = np.random.default_rng(seed)
    weight = code.split_weight(rng.standard_normal((size, size), np.float32))
    x, d = (rng.standard_normal((size, batch), np.float32) for _ in range(2))
    shares = all_mixed(code.mixings.weight, weight)
    passes = (
        ("forward", code.split_x, code.mixings.x, code.forward_frame, shares, x),
        ("backward", code.split_d, code.mixings.d, code.backward_frame, [w.T for w in shares], d),
    )
    told, facts, met = [], {}, []
    for name, split, mixes, frame, weights, rows in passes:
        times: dict[str, list[float]] = {part: [] for part in (*PARTS, "product")}
        for turn in range(turns):
            times["encode"].append(_took(partial(_encoded, split, mixes, rows)))
            inputs = _encoded(split, mixes, rows)
            times["product"].append(_took(partial(np.matmul, weights[0], inputs[0])))
            results = {node: weights[node] @ inputs[node] for node in range(nodes)}
            times["detect"].append(_took(partial(frame.locate, results, seed=turn)))
            times["decode"].append(_took(partial(frame.decode, results, seed=turn)))
        took = {what: float(np.median(times[what])) for what in times}
        says, share = _shares(took)
        told.append(f"{name}: {says}")
        facts[name] = took
        met.append(share < MOST_SHARE)
    return Outcome(
        f"{code.kind} {blocks}, {nodes} nodes: {size} x {size} float32, {batch} columns",
        "; ".join(told),
        {
            f"{name} < {MOST_SHARE:.0%}": is_met
            for (name, *_), is_met in zip(passes, met, strict=True)
        },
        {"seconds": facts},
    )


def _encoded(split: Callable[[Array], Array], mixes: Array, rows: Array) -> list[Array]:
    return all_mixed(mixes, split(rows))


def _took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _shares(took: Seconds) -> tuple[str, float]:
    """In words, and all together over a node's product."""
    parts = {part: took[part] / took["product"] for part in PARTS}
    together = parts["encode"] + parts["decode"]
    return (
        f"a node's product {1000 * took['product']:.1f} ms; encode {parts['encode']:.0%}, detect "
        f"and decode {parts['decode']:.0%} (detect {parts['detect']:.0%}), together "
        f"{together:.0%} of it",
        together,
    )
