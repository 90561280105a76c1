"""A codeword's frame: what every node's rows are made of, and how to get that back from some.

The same for a coded product, for a layer's passes and for weights that lie coded: rows of all nodes
are `generator` times unknowns, and what is wanted is `extraction` times these. Complex rows are two
real ones, so that all is real. Everything that depends on who answered only is computed once a set
of nodes, by pivoted QR in float64. Finding liars is `codes.polydot.located`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from codes.base import Matrix, NotRecoverable, remember
from codes.checks import check_size
from codes.locating import TooManyErrors
from codes.polydot.families import Mixes
from codes.polydot.located import Unexplained, is_one_codeword, located
from codes.polydot.patterns import Pattern, pattern_of
from codes.polydot.rows import Read, Rows, broken, typical_noise

Results = Mapping[int, Any]
CAUTION = 4.0  # estimates are so many times what is expected: they are to hold for every product


class Limits(NamedTuple):
    """How many liars are corrected.

    Attributes:
        probable: with probability 1, of those whose errors have nothing to do with each other.
        adversarial: whatever they agree on.
    """

    probable: int
    adversarial: int


class Inaccurate(ValueError):
    """The estimate of the error is over the limit; nothing was decoded. More nodes help.

    Attributes:
        nodes: whose results were used, sorted.
        estimate, limit: of the error, relative.
    """

    def __init__(self, nodes: Sequence[int], estimate: float, limit: float) -> None:
        self.nodes, self.estimate, self.limit = tuple(nodes), estimate, limit
        super().__init__(
            f"Nodes {self.nodes} would give a relative error of up to {estimate:.1e}, which is "
            f"over the limit of {limit:.1e}."
        )

    def __reduce__(self) -> tuple[type["Inaccurate"], tuple[object, ...]]:
        return type(self), (self.nodes, self.estimate, self.limit)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What came out.

    Attributes:
        values: [wanted, *shape of a result], real, of the results' precision.
        estimate: the relative error is at most this: in the Frobenius norm, of all values together.
        liars: nodes whose results were wrong and were not used, sorted.
        nodes: whose results were used, sorted.
    """

    values: NDArray[Any]
    estimate: float
    liars: tuple[int, ...]
    nodes: tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """The rows of a codeword.

    Args:
        mixes: [nodes, K], real, or complex: then a node's result is complex and stands for two
            real rows.
        extraction: [wanted, K], real.

    Attributes:
        nodes: how many there are.
        threshold: K, how many real rows are needed.
        rows_per_node: 1, or 2 where results are complex.
        node_threshold: how many nodes are needed, whichever.
    """

    mixes: Mixes
    extraction: Matrix

    def __post_init__(self) -> None:
        nodes, unknowns = self.mixes.shape
        check_size("nodes", nodes, self.node_threshold, "the number of nodes that decode")
        if self.extraction.shape[1] != unknowns:
            raise ValueError(
                f"Argument 'extraction' must have {unknowns} columns, "
                f"not {self.extraction.shape[1]}."
            )

    @property
    def nodes(self) -> int:
        """See above."""
        return len(self.mixes)

    @property
    def threshold(self) -> int:
        """See above."""
        return int(self.mixes.shape[1])

    @property
    def rows_per_node(self) -> int:
        """See above."""
        return 2 if np.iscomplexobj(self.mixes) else 1

    @property
    def node_threshold(self) -> int:
        """See above."""
        return -(-self.threshold // self.rows_per_node)

    def most_liars(self, erased: int = 0) -> Limits:
        """How many liars are corrected among the results of all nodes but `erased`."""
        spare = (self.nodes - erased) * self.rows_per_node - self.threshold
        return limits(spare, self.rows_per_node)

    def gain(self, nodes: Iterable[int]) -> float:
        """The 2-norm of the decoder of some nodes, by which noise grows at most; inf where they
        are too few."""
        given = self._checked(nodes)
        if len(given) < self.node_threshold:
            return float("inf")
        return float(np.linalg.norm(self.extraction @ self._solved(given), 2))

    def decode(
        self,
        results: Results,
        sigma: float | None = None,
        *,
        size: float = 0.0,
        max_error: float | None = None,
        most_liars: int | None = None,
        spare: int = 0,
        seed: int = 0,
        into: NDArray[Any] | None = None,
    ) -> Decoded:
        """Find liars, leave them out, decode by all others, and tell how wrong that may be.

        Args:
            results: by node; arrays of one shape and dtype, complex where the frame is. Left as
                they are.
            sigma: root mean square of the rounding noise of an entry of a result (of each part of a
                complex one). Default: as if results were sums that do not cancel: 4 eps times the
                size of a result.
            size: root mean square that an entry of the values would have, were nothing cancelled;
                errors are relative to it where the values themselves are smaller.
            max_error: largest estimate that is accepted. Default: the square root of the results'
                eps, 3.5e-4 for float32 and 1.5e-8 for float64.
            most_liars: correct up to so many (under the probable model), and refuse fewer results
                than that takes with `NotRecoverable`; 0 is to trust everybody who fits. Default: as
                many as these results allow, which is none where they are the fewest that decode.
            spare: refuse fewer finite results than so many beyond those that decode; with 1 no
                wrong result is believed because nothing checks it.
            seed: of the random sums by which results are checked; who lies on purpose must not
                know it.
            into: [..., *shape of a result], as many of these as are wanted: where values are
                written, of results that are matrices; spoilt where this raises.

        Raises:
            NotRecoverable: too few results; more may help.
            Inaccurate: the estimate is over the limit; more may help.
            TooManyErrors: something is wrong, and it cannot be told what; more may help.
            ValueError: results that do not fit together, or nodes that do not exist.
        """
        rows = Rows.of(results, self.rows_per_node)
        self._checked(rows.nodes)
        limit = float(np.sqrt(rows.eps)) if max_error is None else max_error
        self._enough(rows.nodes, 0 if most_liars is None else most_liars)
        # As if nobody lied: what is read once is checked and decoded.
        pattern = self._pattern(rows.nodes)
        read, noise = self._read(rows, sigma, seed, pattern.decoder, into)
        liars, syndrome = self._located(rows, read, noise, most_liars, spare)
        kept = tuple(node for node in rows.nodes if node not in liars)
        if liars:
            pattern = self._pattern(kept)
            read = rows.without(frozenset(liars)).read(seed, pattern.decoder, read.values)
        values, norm = read.values, read.norm
        usual = size * np.sqrt(values.size)
        error = CAUTION * (
            pattern.noise_gain * noise * np.sqrt(rows.entries)
            + (pattern.hidden_gain * syndrome if syndrome and most_liars != 0 else 0.0)
        )
        estimate = float(error / max(norm, usual)) + rows.eps / 2 if error else 0.0
        if not estimate <= limit:
            raise Inaccurate(kept, estimate, limit)
        return Decoded(values, estimate, liars, kept)

    def locate(
        self,
        results: Results,
        sigma: float | None = None,
        *,
        most_liars: int | None = None,
        spare: int = 0,
        seed: int = 0,
    ) -> tuple[int, ...]:
        """Only find liars: the nodes whose results are wrong, sorted. Arguments and errors as of
        `decode`; of sketches (results times a random matrix that all share) as of results."""
        rows = Rows.of(results, self.rows_per_node)
        self._checked(rows.nodes)
        self._enough(rows.nodes, 0 if most_liars is None else most_liars)
        read, noise = self._read(rows, sigma, seed)
        return self._located(rows, read, noise, most_liars, spare)[0]

    def _read(
        self,
        rows: Rows,
        sigma: float | None,
        seed: int,
        decoder: Matrix | None = None,
        into: NDArray[Any] | None = None,
    ) -> tuple[Read, float]:
        """All that is to be known of the results, and their noise."""
        with np.errstate(all="ignore"):  # who sends infinities is found by them
            read = rows.read(seed, decoder, into, is_sized=sigma is None)
            if sigma is None:
                return read, typical_noise(rows, read.squares, self.node_threshold)
        return read, sigma

    def _located(
        self, rows: Rows, read: Read, noise: float, most: int | None, spare: int
    ) -> tuple[tuple[int, ...], float]:
        """Who lies, and how large the parities of the others are, in norms of whole results."""
        sums, scale = read.sums, read.scale
        unwell = broken(rows, sums)
        if unwell:
            is_well = np.repeat([node not in unwell for node in rows.nodes], rows.width)
            rows, sums = rows.without(unwell), sums[is_well]
        self._enough(rows.nodes, 0, spare)
        about = noise, rows.entries, self.rows_per_node, self._parity
        found: tuple[int, ...] = ()
        try:
            found, size = located(sums, rows.nodes, noise, sums.shape[1], *about[2:])
            if found:  # look at them closely: random sums may mix what few entries have
                whole, scale = rows.compressed(), 1.0
                found, size = located(whole, rows.nodes, *about)
                # As many as may agree on anything are outvoted by the others.
                is_outvoted = len(found) <= self._limits(rows.nodes).adversarial
                if not is_outvoted and not is_one_codeword(whole, rows.nodes, found, *about):
                    raise Unexplained
        except Unexplained:
            raise TooManyErrors(rows.nodes, self._most(rows.nodes, most)) from None
        liars = tuple(sorted((*unwell, *found)))
        if most is not None and len(liars) > most:
            raise TooManyErrors((*rows.nodes, *unwell), most)
        return liars, size * scale

    def _most(self, nodes: tuple[int, ...], most: int | None) -> int:
        possible = self._limits(nodes).probable
        return possible if most is None else min(most, possible)

    def _limits(self, nodes: tuple[int, ...]) -> Limits:
        return limits(len(nodes) * self.rows_per_node - self.threshold, self.rows_per_node)

    def _checked(self, nodes: Iterable[int]) -> tuple[int, ...]:
        given = tuple(sorted(nodes))
        for node in given:
            if not 0 <= node < self.nodes:
                raise ValueError(f"Nodes must be 0 to {self.nodes - 1}, not {node}.")
        if len(set(given)) < len(given):
            raise ValueError(f"Nodes must be named once each, not as in {given}.")
        return given

    def _enough(self, nodes: tuple[int, ...], liars: int, spare: int = 0) -> None:
        needed = self.node_threshold + spare
        if liars:
            needed = max(needed, liars - (-(self.threshold + 1) // self.rows_per_node))
        if len(nodes) < needed:
            raise NotRecoverable(nodes, range(len(self.extraction)), needed)

    @cached_property
    def _generator(self) -> Matrix:
        """[rows, K], real."""
        if self.rows_per_node == 1:
            return np.asarray(self.mixes, np.float64)
        parts = np.stack([self.mixes.real, self.mixes.imag], axis=1)
        return np.asarray(parts.reshape(-1, self.threshold), np.float64)

    def _rows_of(self, nodes: tuple[int, ...]) -> Matrix:
        width = self.rows_per_node
        return self._generator[[node * width + row for node in nodes for row in range(width)]]

    def _solved(self, nodes: tuple[int, ...]) -> Matrix:
        """What gives the unknowns from the rows of these nodes, by least squares, [K, rows]."""
        return _factored(self._rows_of(nodes), nodes, self)[0]

    def _parity(self, nodes: tuple[int, ...]) -> Matrix:
        if len(nodes) * self.rows_per_node <= self.threshold:
            return np.empty((0, len(nodes) * self.rows_per_node))
        return self._pattern(nodes).parity

    @cached_property
    def _patterns(self) -> dict[tuple[int, ...], Pattern]:
        """Of the sets of nodes seen; shared by threads, and at worst computed twice."""
        return {}

    def _pattern(self, nodes: tuple[int, ...]) -> Pattern:
        known = self._patterns.get(nodes)
        if known is None:
            solved, parity = _factored(self._rows_of(nodes), nodes, self)
            known = pattern_of(self.extraction @ solved, parity, self.rows_per_node)
            remember(self._patterns, nodes, known)
        return known


def limits(spare: int, width: int) -> Limits:
    """How many liars are corrected with so many rows more than are needed, `width` a node."""
    return Limits(max(0, spare - 1) // width, max(0, spare // 2) // width)


def _factored(rows: Matrix, nodes: tuple[int, ...], frame: Frame) -> tuple[Matrix, Matrix]:
    """By pivoted QR: the inverse of the rows, [K, rows], and what is orthogonal to them."""
    count = frame.threshold
    q, r, order = qr(rows, pivoting=True)
    diagonal = np.abs(np.diag(r))
    if len(rows) < count or not diagonal[-1] > diagonal[0] * np.finfo(np.float64).eps:
        raise NotRecoverable(nodes, range(len(frame.extraction)), frame.node_threshold)
    solved = np.empty((count, len(rows)))
    solved[order] = solve_triangular(r[:count], q[:, :count].T)
    return solved, np.ascontiguousarray(q[:, count:].T)
