"""Coded products that are made here, and the ways in which nodes get them wrong."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from codes.polydot import Decoded, Noise, Product, product_noise, worst
from codes.polydot.product import Array

Rng = np.random.Generator
Lie = Callable[[Array], Array]
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

    def decode(
        self,
        nodes: Iterable[int] | None = None,
        *,
        max_error: float | None = None,
        most_liars: int | None = None,
    ) -> Decoded:
        """From some of the nodes, all by default."""
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

    def spoilt(self, nodes: Iterable[int], lie: Lie) -> "Made":
        """The same with the results of some nodes turned into lies."""
        wrong = {int(node): lie(self.results[int(node)]) for node in nodes}
        return Made(self.code, {**self.results, **wrong}, self.noise, self.truth)


def made(
    code: Product, dtype: type = np.float64, size: tuple[int, int, int] = SIZE, seed: int = 0
) -> Made:
    """A B for normal A [size[0], size[1]] and B [size[1], size[2]]."""
    rng = np.random.default_rng(seed)
    a: Array = rng.standard_normal(size[:2]).astype(dtype)
    b: Array = rng.standard_normal(size[1:]).astype(dtype)
    shares = list(zip(code.encode_a(a), code.encode_b(b), strict=True))
    results = {node: one @ other for node, (one, other) in enumerate(shares)}
    noise = worst([product_noise(one, other) for one, other in shares])
    return Made(code, results, noise, a.astype(np.float64) @ b.astype(np.float64))


def dense(rng: Rng, size: float = 1.0) -> Lie:
    """Normal noise on every entry, `size` times as large as the entries."""

    def lie(result: Array) -> Array:
        error = rng.standard_normal(result.shape)
        if np.iscomplexobj(result):
            error = error + 1j * rng.standard_normal(result.shape)
        return _moved(result, size * error)

    return lie


def bits(rng: Rng, size: float) -> Lie:
    """One to three bits flipped anywhere."""

    def lie(result: Array) -> Array:
        wrong = np.ascontiguousarray(result).copy()
        raw = wrong.view(np.uint8).reshape(-1)
        for _ in range(rng.integers(1, 4)):
            raw[rng.integers(raw.size)] ^= np.uint8(1 << rng.integers(8))
        return wrong

    return lie


def sign(rng: Rng, size: float) -> Lie:
    """All entries negated."""
    return lambda result: -result


def one_entry(rng: Rng, size: float) -> Lie:
    """One entry off."""

    def lie(result: Array) -> Array:
        error = np.zeros(result.shape)
        error.flat[rng.integers(error.size)] = 1.0
        return _moved(result, size * error)

    return lie


def same_error(rng: Rng, size: float) -> Lie:
    """The same error at every node that lies: of rank 1."""
    seed = int(rng.integers(2**32))
    return lambda result: dense(np.random.default_rng(seed), size)(result)


def others_block(rng: Rng, size: float, results: dict[int, Array]) -> Lie:
    """Another node's result in place of one's own."""
    return lambda result: results[int(rng.integers(len(results)))]


INDEPENDENT: dict[str, Callable[[Rng, float], Lie]] = {
    "noise": dense,
    "bit flips": bits,
    "one entry": one_entry,
}
RELATED: dict[str, Callable[[Rng, float], Lie]] = {"sign": sign, "one pattern": same_error}
OTHERS_BLOCK = "another's block"
KINDS = (*INDEPENDENT, *RELATED, OTHERS_BLOCK)


def lie_of(kind: str, rng: Rng, size: float, trial: Made) -> Lie:
    """A lie of a kind, and of a size relative to entries where it has one."""
    if kind == OTHERS_BLOCK:
        return others_block(rng, size, trial.results)
    return {**INDEPENDENT, **RELATED}[kind](rng, size)


def _moved(result: Array, error: Array) -> Array:
    scale = np.sqrt(np.mean(np.abs(result) ** 2))
    wrong: Array = (result + scale * error).astype(result.dtype)
    return wrong
