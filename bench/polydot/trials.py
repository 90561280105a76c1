"""Coded products that are made here, and the ways in which nodes get them wrong."""

from collections.abc import Callable, Iterable

import numpy as np

from codes.polydot import Product
from codes.polydot.product import Array
from codes.polydot.verify import Trial, tried

Rng = np.random.Generator
Lie = Callable[[Array], Array]
SIZE = (13, 11, 12)


def made(
    code: Product, dtype: type = np.float64, size: tuple[int, int, int] = SIZE, seed: int = 0
) -> Trial:
    """A product of operands of these sizes."""
    return tried(code, dtype, size, seed)


def spoilt(trial: Trial, nodes: Iterable[int], lie: Lie) -> Trial:
    """The same with the results of some nodes turned into lies."""
    return trial.told({int(node): lie(trial.results[int(node)]) for node in nodes})


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
        error.flat[rng.integers(error.size)] = rng.standard_normal()
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


def lie_of(kind: str, rng: Rng, size: float, trial: Trial) -> Lie:
    """A lie of a kind, and of a size relative to entries where it has one."""
    if kind == OTHERS_BLOCK:
        return others_block(rng, size, trial.results)
    return {**INDEPENDENT, **RELATED}[kind](rng, size)


def _moved(result: Array, error: Array) -> Array:
    scale = np.sqrt(np.mean(np.abs(result) ** 2))
    wrong: Array = (result + scale * error).astype(result.dtype)
    return wrong
