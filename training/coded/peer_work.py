"""What a node without a master computes in a step. Faults strike here; it waits for nobody.

Blocking: `training.coded.peer_node` runs it off its event loop, one piece after the other.
"""

from collections.abc import Generator, Mapping

import numpy as np

from training.coded.block import Block
from training.coded.local import Faulty, Rates
from training.coded.network import Wanted
from training.coded.nodes import Array, Inputs
from training.coded.peer_plan import Plan, stacked
from training.coded.peer_state import Done
from training.coded.peers import Factors, Key
from training.coded.scheme import Answer
from training.coded.weight import SPARE_COLUMNS

Passes = Generator[Wanted, Array, list[Factors]]
Answered = Mapping[Key, Mapping[int, Array]]


class Work:
    """Of one node.

    Args:
        number: of the node.
        plan: that all share.
        rates: of its faults; seed: of these.
    """

    def __init__(self, number: int, plan: Plan, rates: Rates, seed: int) -> None:
        self._number, self._plan, self._rates = number, plan, rates
        self._faulty = Faulty((seed, number))

    @property
    def faults(self) -> int:
        """That have struck."""
        return self._faulty.count

    def begun(self, step: int) -> tuple[Passes, Wanted | list[Factors]]:
        """A step's passes, and what they need first."""
        passes = self._plan.network.passes(*self._plan.batch(step), self._activated)
        return passes, next(passes)

    def advanced(self, passes: Passes, answer: Answer) -> Wanted | list[Factors]:
        """What passes need next, or at their end the factors of all gradients."""
        try:
            return passes.send(self._faulty.touch(answer.values, self._rates.decode))
        except StopIteration as end:
            return self._plan.clipped(end.value)

    def again(self, step: int, answered: Answered) -> list[Factors]:
        """A step by the answers that were kept, decoded once more."""
        passes, reached = self.begun(step)
        while isinstance(reached, Wanted):
            answer = self.decoded(reached, answered[key_of(step, reached)], step)
            reached = self.advanced(passes, answer)
        return reached

    def share(self, wanted: Wanted, block: Block) -> Array:
        """This node's part of a product."""
        scheme = self._plan.schemes[wanted.layer]
        encode = scheme.backward_inputs if wanted.transpose else scheme.forward_inputs
        coded = encode(_finite(wanted.values), [self._number])[self._number]
        with np.errstate(all="ignore"):
            product = block.multiply(
                self._faulty.touch(coded, self._rates.encode), transpose=wanted.transpose
            )
        return self._faulty.touch(product, self._rates.product)

    def decoded(self, wanted: Wanted, some: Mapping[int, Array], step: int) -> Answer:
        """A product from nodes' parts; raises as schemes do."""
        scheme = self._plan.schemes[wanted.layer]
        return (scheme.backward if wanted.transpose else scheme.forward)(some, step)

    def inputs(self, factors: list[Factors]) -> list[Inputs]:
        """What this node updates its blocks by."""
        found = []
        for scheme, one in zip(self._plan.schemes, factors, strict=True):
            activation, signal = _finite(one.activation), _finite(one.signal)
            coded = scheme.update_inputs(activation, signal, [self._number])[self._number]
            found.append(
                Inputs(
                    self._faulty.touch(coded.activation, self._rates.encode),
                    self._faulty.touch(coded.signal, self._rates.encode),
                )
            )
        return found

    def done(self, step: int, factors: list[Factors]) -> tuple[Done, Array]:
        """An update, and projections of its inputs as they travel."""
        rows = -(-(self._plan.count + SPARE_COLUMNS) // self._plan.recipe.batch_size)
        inputs = self.inputs(factors)
        return Done(factors, inputs), stacked([one.projected(step, rows) for one in inputs])

    def updated(self, weight: Array) -> Array:
        """A block that was updated, now and then a wrong one."""
        return self._faulty.touch(weight, self._rates.update)

    def _activated(self, values: Array) -> Array:
        return self._faulty.touch(values, self._rates.activation)


def key_of(step: int, wanted: Wanted) -> Key:
    """The moment of a product."""
    return Key(step, "backward" if wanted.transpose else "forward", wanted.layer)


def _finite(values: Array) -> Array:
    """What can be encoded, of values that were made wrong."""
    return np.nan_to_num(values)
