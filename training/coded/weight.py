"""One weight that lives encoded on nodes: what is sent, tried again, repaired and given up.

Products are read-only, so that one that cannot be decoded is simply asked for again. An update is
handed out first, its inputs compared by random projections, and only then done: a node that got or
made them wrong is found before they reach its block. A block that went wrong all the same, or
missed an update, is found by a scrub and made anew from the others', a few rows at a time: nobody
ever holds the whole weight. What none of that mends is `StateLost`, and a matter of checkpoints.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from training.coded.nodes import EMPTY, Array, Inputs, Nodes, Part, Rule
from training.coded.scheme import UNDECODABLE, Scheme

T = TypeVar("T")
SPARE_COLUMNS = 8  # of sketches, above what the code needs to tell all wrong nodes apart


class StateLost(RuntimeError):
    """The blocks no longer give the weight; only a checkpoint does. Names the weight and why."""


@dataclass(frozen=True)
class Policy:
    """How hard a weight is tried to be kept.

    Attributes:
        retries: of a product or a sketch that cannot be decoded.
        scrub_every: most steps between looks at all blocks; a node that was wrong in two products
            in a row has them looked at at once.
        history: updates kept for nodes that missed some; older ones cost a rebuilt block.
    """

    retries: int = 8
    scrub_every: int = 10
    history: int = 20


@dataclass
class Report:
    """What has happened so far, of all weights that share it.

    Attributes:
        located: wrong products found and left out.
        retries: products asked for again.
        resent: inputs of updates that were found wrong before they were used.
        repaired: blocks made anew because they were wrong, missing or too old.
        replayed: updates done again on nodes that had missed them.
        rollbacks: times that a checkpoint was gone back to.
    """

    located: int = 0
    retries: int = 0
    resent: int = 0
    repaired: int = 0
    replayed: int = 0
    rollbacks: int = 0


@dataclass(frozen=True)
class _Done:
    """An update as it is kept for nodes that missed it."""

    step: int
    activation: Array
    signal: Array
    rule: Rule


@dataclass
class CodedWeight:
    """A weight [out, in] on nodes.

    Attributes:
        name: that nodes know it by.
        scheme: how it is encoded.
        nodes: where it lives.
        policy: how hard it is tried to be kept.
        report: told what happens.
        version: updates done so far.
    """

    name: str
    scheme: Scheme
    nodes: Nodes
    policy: Policy = field(default_factory=Policy)
    report: Report = field(default_factory=Report)
    version: int = 0

    def __post_init__(self) -> None:
        if self.scheme.count != self.nodes.count:
            raise ValueError(
                f"The code is for {self.scheme.count} nodes, and there are {self.nodes.count}."
            )
        self._history: deque[_Done] = deque(maxlen=self.policy.history)
        self._parts: tuple[Part, ...] = ("weight",)
        self._draws = 0  # sketches so far: each has a seed of its own
        self._liars: frozenset[int] = frozenset()  # in the last product
        self._is_doubtful = False  # a node was wrong twice in a row: its block may be

    def place(self, weight: Array) -> None:
        """Encode a weight [out, in] and give each node its block: the only time that it is whole.

        Raises:
            ValueError: its shape or type is not the scheme's, or it is not finite.
        """
        self.scheme.check(weight)
        for node in range(self.nodes.count):
            share = self.scheme.weight_share(weight, node)
            self.nodes.fill(self.name, self.version, node, "weight", len(share), [share])
        self.nodes.keep(self.name, self.version)

    def forward(self, activation: Array) -> Array:
        """The weight times activations [in, batch]: [out, batch]. Raises StateLost."""
        inputs = self.scheme.forward_inputs(activation, range(self.nodes.count))
        return self._product(inputs, transpose=False)

    def backward(self, signal: Array) -> Array:
        """The transposed weight times signals [out, batch]: [in, batch]. Raises StateLost."""
        inputs = self.scheme.backward_inputs(signal, range(self.nodes.count))
        return self._product(inputs, transpose=True)

    def update(self, activation: Array, signal: Array, rule: Rule) -> None:
        """A step along the gradient `signal @ activation.T`, on the blocks.

        Args:
            activation: [in, batch]; signal: [out, batch].

        Raises:
            StateLost: too few nodes have the update right, or a scrub was due and failed.
        """
        done = _Done(self.version + 1, activation, signal, rule)
        ready = self._handed_out(done)
        self.nodes.commit(self.name, done.step, ready)
        self.version = done.step
        self._history.append(done)
        if rule.momentum:
            self._parts = "weight", "velocity"
        if self._is_doubtful or self.version % self.policy.scrub_every == 0:
            self.scrub()

    def scrub(self) -> None:
        """Look at all blocks, and mend those that are wrong, missing or old.

        Raises:
            StateLost: more are wrong than can be told from the right ones.
        """
        old = self._catch_up()
        wrong = self._wrong_blocks()
        for node in sorted(wrong | old):
            self._rebuild(node, wrong | old)
        self._is_doubtful = False

    def keep(self) -> None:
        """A checkpoint on the nodes, of blocks that were looked at. Raises StateLost."""
        self.scrub()
        self.nodes.keep(self.name, self.version)

    def restore(self, version: int) -> None:
        """Go back to the checkpoint of this version. Raises StateLost."""
        self.nodes.restore(self.name, version)
        self.version = version
        self._history.clear()
        self.scrub()

    def decoded(self) -> Array:
        """The weight [out, in], whole: to keep it or to run it without nodes. Raises StateLost."""
        old = self._catch_up()
        healthy = self._current() - old - self._wrong_blocks()

        def whole() -> Array:
            strips = self.nodes.strips(self.name, self.version, "weight", healthy)
            return self.scheme.weight(list(strips), self._steps)

        return self._tried("read", whole)

    @property
    def _steps(self) -> int:
        """Updates since the blocks were a codeword to the last bit; each rounds for itself."""
        return self.version

    def _product(self, inputs: Mapping[int, Array], *, transpose: bool) -> Array:
        decode = self.scheme.backward if transpose else self.scheme.forward
        for attempt in range(self.policy.retries + 1):
            if attempt:
                self.report.retries += 1
            if attempt > 1:  # once may be the products' fault; then it may be the blocks'
                self.scrub()
            results: dict[int, Array] = {}
            for more in self.nodes.multiply(self.name, self.version, inputs, transpose=transpose):
                results |= more
                try:
                    answer = decode(results, self._steps)
                except UNDECODABLE as error:
                    why = error
                    continue
                self.report.located += len(answer.liars)
                self._is_doubtful |= bool(answer.liars & self._liars)
                self._liars = answer.liars
                return answer.values
        raise StateLost(
            f"{self.name} at step {self.version}: no product in {self.policy.retries + 1} "
            f"attempts; the last: {why}"
        ) from why

    def _handed_out(self, done: _Done) -> set[int]:
        """Nodes that have an update in hand, with inputs that fit the others'."""
        everyone = range(self.nodes.count)
        inputs = self.scheme.update_inputs(done.activation, done.signal, everyone)
        projections = -(-(self.nodes.count + SPARE_COLUMNS) // done.activation.shape[1])
        held: dict[int, Inputs] = {}
        waiting = set(inputs)
        for _ in range(self.policy.retries + 1):
            chosen = {node: inputs[node] for node in waiting}
            held |= self.nodes.stage(self.name, done.step, chosen, done.rule, projections)
            try:
                wrong = set(self.scheme.wrong_inputs(held))
            except UNDECODABLE:  # too few hold it, or too many hold it wrong
                wrong = set(inputs)
            if not wrong:
                return set(held)
            self.report.resent += len(wrong & held.keys())
            waiting = wrong
        if wrong >= held.keys():
            raise StateLost(f"{self.name} at step {self.version}: no update reached the nodes.")
        return set(held) - wrong  # the others have missed this update, and will catch up

    def _catch_up(self) -> set[int]:
        """Replay what nodes have missed; those for whom that is too late."""
        old = set()
        first = self._history[0].step if self._history else self.version + 1
        for node, version in self.nodes.versions(self.name).items():
            if version == self.version:
                continue
            if version == EMPTY or version > self.version or version + 1 < first:
                old.add(node)
                continue
            for done in self._history:
                if done.step > version:
                    self._replay(node, done)
        return old

    def _replay(self, node: int, done: _Done) -> None:
        inputs = self.scheme.update_inputs(done.activation, done.signal, [node])
        self.nodes.stage(self.name, done.step, inputs, done.rule, 1)
        self.nodes.commit(self.name, done.step, [node])
        self.report.replayed += 1

    def _current(self) -> set[int]:
        versions = self.nodes.versions(self.name)
        return {node for node, version in versions.items() if version == self.version}

    def _wrong_blocks(self) -> set[int]:
        """Nodes whose block is wrong; two sketches must say so, as a sketch may be wrong itself."""
        wrong: set[int] = set()
        for part in self._parts:
            suspects = self._suspects(part)
            wrong |= suspects & self._suspects(part) if suspects else suspects
        return wrong

    def _suspects(self, part: Part) -> set[int]:
        columns = self.nodes.count + SPARE_COLUMNS

        def found() -> set[int]:
            self._draws += 1
            sketches = self.nodes.sketch(self.name, self.version, part, self._draws, columns)
            return set(self.scheme.wrong_blocks(sketches, self._steps))

        return self._tried("scrubbed", found)

    def _rebuild(self, node: int, untrusted: set[int]) -> None:
        """Make a node's block anew from the others', as many rows at a time as travel at once."""
        healthy = self._current() - untrusted
        rows = self.scheme.block_shape[0]
        for part in self._parts:

            def fill(part: Part = part) -> None:
                strips = self._share(node, part, healthy)
                self.nodes.fill(self.name, self.version, node, part, rows, strips)

            self._tried("repaired", fill)
        self.report.repaired += 1

    def _share(self, node: int, part: Part, healthy: set[int]) -> Iterator[Array]:
        for strips in self.nodes.strips(self.name, self.version, part, healthy):
            yield self.scheme.share(strips, node, self._steps)

    def _tried(self, what: str, read: Callable[[], T]) -> T:
        """What comes of reading from the nodes, which is wrong now and then. Raises StateLost."""
        for _ in range(self.policy.retries + 1):
            try:
                return read()
            except UNDECODABLE as error:
                why = error
        raise StateLost(f"{self.name} at step {self.version}, {what}: {why}") from why
