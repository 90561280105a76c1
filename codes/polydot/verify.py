"""Walks sets of nodes of a coded product: does it keep its promise? `codes.verify`, for products.

What is promised: any `node_threshold` nodes give the product, with an error within the estimate,
and fewer are refused.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from codes.base import NotRecoverable
from codes.polydot.frame import Decoded, Inaccurate
from codes.polydot.product import Array, Noise, Product, product_noise, worst
from codes.verify import MOST_SETS, Fate, Verification, subsets

SIZE = (13, 5, 11)  # of the operands: no grid of more than a block divides all of them


@dataclass(frozen=True, eq=False)
class Trial:
    """A product of normal matrices, as every node has computed it.

    Attributes:
        code: its code.
        results: by node.
        noise: of them.
        truth: C in float64.
    """

    code: Product
    results: dict[int, Array]
    noise: Noise
    truth: Array

    def decode(self, results: Mapping[int, Array], **settings: int) -> Decoded:
        """C, or what `Product.decode` raises."""
        return self.code.decode(results, self.noise, self.truth.shape, **settings)

    def is_right(self, decoded: Decoded) -> bool:
        """Whether the error is within the estimate, and the estimate within the accepted limit."""
        apart = np.linalg.norm(decoded.values.astype(np.float64) - self.truth)
        usual = self.noise.size * np.sqrt(self.code.blocks_p * self.truth.size)
        size = max(float(np.linalg.norm(self.truth)), usual)
        eps = float(np.finfo(decoded.values.dtype).eps)
        return bool(apart <= decoded.estimate * size) and decoded.estimate <= np.sqrt(eps)


def tried(code: Product, dtype: type = np.float64, seed: int = 0) -> Trial:
    """One product by this code."""
    rng = np.random.default_rng(seed)
    a: Array = rng.standard_normal(SIZE[:2]).astype(dtype)
    b: Array = rng.standard_normal(SIZE[1:]).astype(dtype)
    shares = list(zip(code.encode_a(a), code.encode_b(b), strict=True))
    noise = worst([product_noise(one, other) for one, other in shares])
    results = {node: one @ other for node, (one, other) in enumerate(shares)}
    return Trial(code, results, noise, a.astype(np.float64) @ b.astype(np.float64))


def verify(code: Product, *, most_sets: int = MOST_SETS, seed: int = 0) -> Verification:
    """Try the sets of nodes, in float64 and float32: all of a size, or `most_sets` of them."""
    trials = [tried(code, dtype, seed) for dtype in (np.float64, np.float32)]
    fates, unkept, wrong = [], [], []
    for size in range(1, code.nodes + 1):
        count: Counter[str] = Counter()
        for nodes in subsets(code.nodes, size, most_sets, seed):
            fate = _fate(trials, nodes)
            count[fate] += 1
            if fate == "wrong":
                wrong.append(nodes)
            elif fate == "refused" and size >= code.node_threshold:
                unkept.append(nodes)
        fates.append(dict(count))
    says = f"products in float64 and float32, from any {code.node_threshold} nodes"
    return Verification(
        repr(code), says, code.node_threshold, tuple(fates), tuple(unkept[:10]), tuple(wrong[:10])
    )


def _fate(trials: list[Trial], nodes: tuple[int, ...]) -> Fate:
    for trial in trials:
        try:
            decoded = trial.decode({node: trial.results[node] for node in nodes}, most_liars=0)
        except (NotRecoverable, Inaccurate):
            return "refused"
        if len(nodes) < trial.code.node_threshold or not trial.is_right(decoded):
            return "wrong"
    return "decoded"
