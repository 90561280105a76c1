"""Walks sets of nodes of a coded product: does it keep its promise? `codes.verify`, for products.

What is promised: any `node_threshold` nodes give the product, with an error within the estimate,
and fewer are refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from codes.base import NotRecoverable
from codes.polydot.frame import Decoded, Inaccurate
from codes.polydot.product import Array, Noise, Product, product_noise, worst
from codes.verify import MOST_SETS, Fate, Verification, walked

SIZE = (13, 5, 11)  # of the operands: primes, so that nearly all grids need padding


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

    def decode(
        self,
        nodes: Iterable[int] | None = None,
        *,
        max_error: float | None = None,
        most_liars: int | None = None,
    ) -> Decoded:
        """C from some of the nodes, all by default; or what `Product.decode` raises."""
        kept = self.results if nodes is None else nodes
        results = {node: self.results[node] for node in kept}
        return self.code.decode(
            results, self.noise, self.truth.shape, max_error=max_error, most_liars=most_liars
        )

    def error(self, decoded: Decoded) -> float:
        """Relative, in the Frobenius norm: to C, or to what it would be if nothing was cancelled,
        whichever is larger."""
        usual = self.noise.size * np.sqrt(self.code.blocks_p * self.truth.size)
        apart = np.linalg.norm(decoded.values.astype(np.float64) - self.truth)
        return float(apart / max(np.linalg.norm(self.truth), usual))

    def is_right(self, decoded: Decoded) -> bool:
        """Whether the error is within the estimate, and the estimate within the accepted limit."""
        eps = float(np.finfo(decoded.values.dtype).eps)
        return bool(self.error(decoded) <= decoded.estimate <= np.sqrt(eps))

    def told(self, lies: Mapping[int, Array]) -> "Trial":
        """The same where some nodes return something else."""
        return replace(self, results={**self.results, **lies})


def tried(
    code: Product, dtype: type = np.float64, size: tuple[int, int, int] = SIZE, seed: int = 0
) -> Trial:
    """A B by this code, for normal A [size[0], size[1]] and B [size[1], size[2]]."""
    rng = np.random.default_rng(seed)
    a: Array = rng.standard_normal(size[:2]).astype(dtype)
    b: Array = rng.standard_normal(size[1:]).astype(dtype)
    shares = list(zip(code.encode_a(a), code.encode_b(b), strict=True))
    noise = worst([product_noise(one, other) for one, other in shares])
    results = {node: one @ other for node, (one, other) in enumerate(shares)}
    return Trial(code, results, noise, a.astype(np.float64) @ b.astype(np.float64))


def verify(code: Product, *, most_sets: int = MOST_SETS, seed: int = 0) -> Verification:
    """Try the sets of nodes, in float64 and float32: all of a size, or `most_sets` of them."""
    trials = [tried(code, dtype, seed=seed) for dtype in (np.float64, np.float32)]
    says = f"products in float64 and float32, from any {code.node_threshold} nodes"
    return walked(
        lambda nodes: _fate(trials, nodes), (repr(code), says), code.nodes, code.node_threshold,
        most_sets, seed,
    )  # fmt: skip


def _fate(trials: list[Trial], nodes: tuple[int, ...]) -> Fate:
    for trial in trials:
        try:
            decoded = trial.decode(nodes, most_liars=0)
        except (NotRecoverable, Inaccurate):
            return "refused"
        if len(nodes) < trial.code.node_threshold or not trial.is_right(decoded):
            return "wrong"
    return "decoded"
