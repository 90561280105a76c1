"""Coded products that are made here and spoilt on purpose."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codes.polydot import Decoded, Noise, Product, product_noise, worst
from codes.polydot.product import Array

Rng = np.random.Generator
SIZE = (13, 11, 12)


@dataclass(frozen=True, eq=False)
class Made:
    """A product that every node has computed.

    Attributes:
        code: its code.
        results: of all nodes.
        noise: of them.
        truth: C in float64.
    """

    code: Product
    results: dict[int, Array]
    noise: Noise
    truth: Array

    def decode(self, nodes: object = None, **settings: object) -> Decoded:
        """From some of the nodes, all by default."""
        kept = range(self.code.nodes) if nodes is None else nodes
        results = {int(node): self.results[node] for node in kept}  # type: ignore[attr-defined]
        return self.code.decode(results, self.noise, self.truth.shape, **settings)  # type: ignore[arg-type]

    def error(self, decoded: Decoded) -> float:
        """Relative, in the Frobenius norm."""
        return float(np.linalg.norm(decoded.values - self.truth) / np.linalg.norm(self.truth))

    def spoilt(self, nodes: object, lie: Callable[[Array], Array]) -> "Made":
        """The same with the results of some nodes turned into lies."""
        wrong = {int(node): lie(self.results[node]) for node in nodes}  # type: ignore[attr-defined]
        return Made(self.code, {**self.results, **wrong}, self.noise, self.truth)


def made(
    code: Product, dtype: type = np.float64, size: tuple[int, int, int] = SIZE, seed: int = 0
) -> Made:
    """A B for normal A [size[0], size[1]] and B [size[1], size[2]]."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(size[:2]).astype(dtype)
    b = rng.standard_normal(size[1:]).astype(dtype)
    shares = list(zip(code.encode_a(a), code.encode_b(b), strict=True))
    results = {node: one @ other for node, (one, other) in enumerate(shares)}
    noise = worst([product_noise(one, other) for one, other in shares])
    return Made(code, results, noise, a.astype(np.float64) @ b.astype(np.float64))


def dense(rng: Rng, size: float = 1.0) -> Callable[[Array], Array]:
    """Normal noise on every entry, `size` times as large as the entries."""

    def lie(result: Array) -> Array:
        error = rng.standard_normal(result.shape)
        if np.iscomplexobj(result):
            error = error + 1j * rng.standard_normal(result.shape)
        scale = size * np.sqrt(np.mean(np.abs(result) ** 2))
        wrong: Array = (result + scale * error).astype(result.dtype)
        return wrong

    return lie
