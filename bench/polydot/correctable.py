"""How many wrong nodes are located and corrected: theory beside random trials, code by code.

All codes have as many nodes at hand, and each node holds as much: one of m n blocks, or a mix. What
Generalized PolyDot is compared with is a plain grid of blocks, that in three copies, and that with
MDS rows for the forward and MDS columns for the backward pass, as in `bench.coded_training`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.coded_training.grids import copies, rows_and_columns, uncoded
from bench.polydot.outcome import Outcome
from bench.polydot.trials import dense, made
from codes.polydot import Layer, Product
from codes.polydot.frame import limits
from training.coded.nodes import Array
from training.coded.scheme import UNDECODABLE, Answer, PolyDotScheme, Scheme

SIDE, BATCH = 24, 16  # of a weight, which 2, 3 and 4 divide; columns that go through it
RIGHT = 1e-6  # relative, in float64: far over rounding, far below any lie
COPIES = 3
Found = tuple[Array, frozenset[int]]


@dataclass(frozen=True, eq=False)
class Pass:
    """What nodes return, and what comes of it.

    Attributes:
        name: of the pass; "" where there is one only.
        spare: rows beyond those that are needed, `width` a node, in the code of one word.
        results: by node, of one of two inputs, 0 and 1.
        decode: values, and who lied; raises one of `UNDECODABLE`.
    """

    name: str
    spare: int
    width: int
    results: tuple[dict[int, Array], dict[int, Array]]
    decode: Callable[[Mapping[int, Array]], Found]

    @property
    def theory(self) -> dict[str, int]:
        """Of nodes that know nothing of each other, and of nodes that agree."""
        most = limits(self.spare, self.width)
        return {"apart": most.probable, "agreed": most.adversarial}


def correctable(
    code: str, nodes: int, trials: int, seed: int, blocks: tuple[int, int] = (2, 2)
) -> Outcome:
    """Random liars, more and more, until a trial is not corrected: with dense noise each, and with
    another input's results, on which they agree.

    Args:
        code: "uncoded", "copies", "rows and columns"; "layer FAMILY" or "product FAMILY".
        nodes: how many there are at hand.
        trials: of a number of liars.
        blocks: m, n.
    """
    told, facts, met = [], {}, True
    used = 0
    for one in _passes(code, blocks, nodes):
        used = max(used, 1 + max(one.results[0]))
        found = {kind: _corrected(one, kind == "agreed", trials, seed) for kind in one.theory}
        told.append(
            f"{one.name}{found['apart']} (theory {one.theory['apart']}), "
            f"if they agree {found['agreed']} ({one.theory['agreed']})"
        )
        met = met and all(found[kind] >= most for kind, most in one.theory.items())
        facts[one.name or "product"] = {"measured": found, "theory": one.theory}
    kinds = {"copies": f"{COPIES} copies", "rows and columns": "MDS rows and columns"}
    return Outcome(
        f"{kinds.get(code, code)}, {blocks[0]} x {blocks[1]} blocks, {used} of {nodes} nodes",
        "; ".join(told),
        {"as in theory": met},
        facts,
    )


def _corrected(one: Pass, is_agreed: bool, trials: int, seed: int) -> int:
    """The largest number of liars up to which every trial was located and corrected."""
    right, other = one.results
    truth, _ = one.decode(right)
    for count in range(1, len(right) + 1):
        for turn in range(trials):
            rng = np.random.default_rng((seed, count, turn))
            liars = frozenset(int(node) for node in rng.choice(list(right), count, replace=False))
            lie = dense(rng)
            lies = {node: other[node] if is_agreed else lie(right[node]) for node in liars}
            try:
                values, named = one.decode({**right, **lies})
            except UNDECODABLE:
                return count - 1
            if named != liars or np.linalg.norm(values - truth) > RIGHT * np.linalg.norm(truth):
                return count - 1
    return len(right)


def _passes(code: str, blocks: tuple[int, int], nodes: int) -> Iterator[Pass]:
    m, n = blocks
    kind, _, family = code.partition(" ")
    if kind == "product":
        yield _product(Product(m, 1, n, nodes, family))
        return
    if kind == "layer":
        # Rows only where the family has no other: as many blocks, as large.
        layer = Layer(m * n, 1, nodes, family) if family == "circle" else Layer(m, n, nodes, family)
        spares = (
            nodes * layer.rows_per_node - layer.forward_threshold,
            nodes * layer.rows_per_node - layer.backward_threshold,
        )
        scheme: Scheme = PolyDotScheme(SIDE, SIDE, np.dtype(np.float64), layer)
        yield from _both(scheme, spares, layer.rows_per_node)
        return
    about = (SIDE, SIDE, np.dtype(np.float64), m, n)
    if code == "uncoded":
        yield from _both(uncoded(*about), (0, 0), 1)
    elif code == "copies":
        yield from _both(copies(*about, COPIES), (COPIES - 1, COPIES - 1), 1)
    elif code == "rows and columns":
        more = (nodes - m * n) // (m + n)
        yield from _both(rows_and_columns(*about, more), (more, more), 1)
    else:
        raise ValueError(f"There is no code {code!r} to compare with.")


def _both(scheme: Scheme, spares: tuple[int, int], width: int) -> Iterator[Pass]:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((SIDE, SIDE))
    shares = [scheme.weight_share(weight, node) for node in range(scheme.count)]
    inputs = [rng.standard_normal((SIDE, BATCH)) for _ in range(2)]
    every = range(scheme.count)
    forward = [
        {node: shares[node] @ x for node, x in scheme.forward_inputs(values, every).items()}
        for values in inputs
    ]
    backward = [
        {node: shares[node].T @ d for node, d in scheme.backward_inputs(values, every).items()}
        for values in inputs
    ]

    def decoded(
        decode: Callable[[Mapping[int, Array], int], Answer], given: Mapping[int, Array]
    ) -> Found:
        answer = decode(given, 0)
        return answer.values, answer.liars

    yield Pass(
        "forward ", spares[0], width, (forward[0], forward[1]), partial(decoded, scheme.forward)
    )
    yield Pass(
        "backward ", spares[1], width, (backward[0], backward[1]), partial(decoded, scheme.backward)
    )


def _product(code: Product) -> Pass:
    m, _, n = code.grid
    right, other = (made(code, size=(8 * m, 6, 8 * n), seed=seed) for seed in range(2))

    def decoded(given: Mapping[int, Array]) -> Found:
        found = right.told(given).decode()
        return found.values, frozenset(found.liars)

    spare = code.nodes * code.rows_per_node - code.threshold
    return Pass("", spare, code.rows_per_node, (right.results, other.results), decoded)
