"""Nodes in this process, which compute wrongly at given rates and die when told to.

The faults strike where they would in a real node: a product after it was computed, an encoding
before it is used, a block after it was updated. Half of the wrong arrays have dense noise ten times
their own size, half one flipped bit.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from training.coded.block import Block, Staged, strip_rows
from training.coded.nodes import EMPTY, Array, Inputs, Part, Rule

NOISE = 10.0  # of dense faults, in units of the root mean square of the array


@dataclass(frozen=True)
class Rates:
    """Probabilities of a fault, of each node and operation for itself.

    Attributes:
        product: of a block times coded inputs, and of a sketch.
        encode: of each of a node's coded inputs.
        update: of a block's update.
        decode, activation: of a node that does these by itself; of a master nobody could tell.
    """

    product: float = 0.0
    encode: float = 0.0
    update: float = 0.0
    decode: float = 0.0
    activation: float = 0.0


NO_FAULTS = Rates()


class Faulty:
    """Makes arrays wrong by chance; the same ones for the same seed and order of calls."""

    def __init__(self, seed: int | tuple[int, ...]) -> None:
        self._noise = np.random.default_rng(seed)
        self.count = 0  # faults so far

    def touch(self, values: Array, rate: float) -> Array:
        """The array itself, or with this probability a wrong copy of it."""
        if rate == 0.0 or self._noise.random() >= rate:
            return values
        self.count += 1
        return self._dense(values) if self._noise.random() < 0.5 else self._flipped(values)

    def _dense(self, values: Array) -> Array:
        with np.errstate(over="ignore"):
            size = NOISE * float(np.sqrt(np.mean(np.abs(values) ** 2))) or 1.0
        wrong = self._noise.standard_normal(values.shape)
        return (values + size * wrong).astype(values.dtype)

    def _flipped(self, values: Array) -> Array:
        wrong = np.array(values, order="C")
        bit = int(self._noise.integers(8 * wrong.nbytes))
        wrong.reshape(-1).view(np.uint8)[bit // 8] ^= np.uint8(1 << bit % 8)
        return wrong


class LocalNodes:
    """`Nodes` in this process.

    Args:
        count: how many.
        rates: of their faults.
        seed: of their faults.
    """

    def __init__(self, count: int, rates: Rates = NO_FAULTS, seed: int = 0) -> None:
        self._blocks: list[dict[str, Block] | None] = [{} for _ in range(count)]
        self.rates = rates
        self.silent: set[int] = set()  # nodes that cannot be reached, and keep what they hold
        self._faulty = [Faulty((seed, node)) for node in range(count)]

    @property
    def count(self) -> int:
        """How many there are, dead ones counted."""
        return len(self._blocks)

    @property
    def faults(self) -> int:
        """That have struck so far."""
        return sum(faulty.count for faulty in self._faulty)

    def block(self, name: str, node: int) -> Block:
        """What a node holds; raises KeyError."""
        held = self._blocks[node]
        if held is None:
            raise KeyError(name)
        return held[name]

    def kill(self, node: int) -> None:
        """A node dies with all that it holds."""
        self._blocks[node] = None

    def start(self, node: int) -> None:
        """An empty node comes in a dead one's place."""
        self._blocks[node] = {}

    def fill(
        self, name: str, version: int, node: int, part: Part, rows: int, strips: Iterable[Array]
    ) -> None:
        """See `Nodes`."""
        held, values = self._reached(node), np.concatenate(list(strips))
        if held is None:
            return
        if part == "velocity":
            held[name].velocity = values
        else:
            held.setdefault(name, Block(values)).replace(values, version)

    def multiply(
        self, name: str, version: int, inputs: Mapping[int, Array], *, transpose: bool
    ) -> Iterator[Mapping[int, Array]]:
        """See `Nodes`; all at once."""
        with np.errstate(all="ignore"):  # a flipped exponent overflows
            yield {
                node: self._product(
                    node,
                    block.multiply(
                        self._touch(node, inputs[node], self.rates.encode), transpose=transpose
                    ),
                )
                for node, block in self._at(name, version)
                if node in inputs
            }

    def stage(
        self, name: str, step: int, inputs: Mapping[int, Inputs], rule: Rule, projections: int
    ) -> Mapping[int, Inputs]:
        """See `Nodes`."""
        found = {}
        for node, block in self._at(name, step - 1):
            if node not in inputs:
                continue
            coded = Inputs(
                self._touch(node, inputs[node].activation, self.rates.encode),
                self._touch(node, inputs[node].signal, self.rates.encode),
            )
            if block.stage(Staged(step, coded, rule)):
                with np.errstate(all="ignore"):
                    found[node] = coded.projected(step, projections)
        return found

    def commit(self, name: str, step: int, nodes: Collection[int]) -> None:
        """See `Nodes`."""
        for node, block in self._at(name, step - 1):
            with np.errstate(all="ignore"):
                if node in nodes and block.commit(step):
                    block.weight = self._touch(node, block.weight, self.rates.update)
                    if block.velocity is not None:
                        block.velocity = self._touch(node, block.velocity, self.rates.update)

    def sketch(
        self, name: str, version: int, part: Part, seed: int, columns: int
    ) -> Mapping[int, Array]:
        """See `Nodes`."""
        with np.errstate(all="ignore"):
            return {
                node: self._product(node, block.sketch(part, seed, columns))
                for node, block in self._at(name, version)
            }

    def versions(self, name: str) -> Mapping[int, int]:
        """See `Nodes`."""
        return {
            node: held[name].version if name in held else EMPTY
            for node in range(self.count)
            if (held := self._reached(node)) is not None
        }

    def strips(
        self, name: str, version: int, part: Part, nodes: Collection[int]
    ) -> Iterator[Mapping[int, Array]]:
        """See `Nodes`."""
        blocks = {node: block.part(part) for node, block in self._at(name, version)}
        blocks = {node: block for node, block in blocks.items() if node in nodes}
        if not blocks:
            return
        one = next(iter(blocks.values()))
        rows = strip_rows(one)
        for start in range(0, len(one), rows):
            yield {node: block[start : start + rows] for node, block in blocks.items()}

    def keep(self, name: str, version: int) -> None:
        """See `Nodes`."""
        for _, block in self._at(name, version):
            block.keep()

    def restore(self, name: str, version: int) -> None:
        """See `Nodes`."""
        for node in range(self.count):
            held = self._reached(node)
            if held is not None and name in held:
                held[name].restore(version)

    def _reached(self, node: int) -> dict[str, Block] | None:
        return None if node in self.silent else self._blocks[node]

    def _at(self, name: str, version: int) -> Iterator[tuple[int, Block]]:
        for node in range(self.count):
            held = self._reached(node)
            if held is not None and name in held and held[name].version == version:
                yield node, held[name]

    def _touch(self, node: int, values: Array, rate: float) -> Array:
        return self._faulty[node].touch(values, rate)

    def _product(self, node: int, product: Array) -> Array:
        return self._touch(node, product, self.rates.product)
