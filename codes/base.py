"""What a code is: the roles of its slots, an encode, and a decode.

A query's way leads through here twice: the master encodes k queries into n shards, and decodes the
k answers from the results of whichever slots responded. Public methods check their arguments once
and call the mathematics of the concrete code. Nothing here knows workers, programs or time.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, TypeVar, final

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from codes.checks import check_queries, checked_answers, in_order, padded, sorted_slots
from codes.exact_case import ExactCase, identity_rows

BASE = "base"  # the role of slots that run the served model
SETS_KEPT = 4096  # responder sets remembered by a code: all of them for n = 12

K = TypeVar("K")
V = TypeVar("V")
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class NotRecoverable(ValueError):
    """The responders do not give the wanted answers; nothing was decoded.

    Attributes:
        slots: the responders, sorted.
        lost_answers: the wanted answers that they do not give.
        needed: how many slots always suffice.
    """

    def __init__(self, slots: Sequence[int], lost_answers: Sequence[int], needed: int) -> None:
        self.slots, self.lost_answers, self.needed = tuple(slots), tuple(lost_answers), needed
        super().__init__(
            f"Slots {self.slots} do not give answers {self.lost_answers}; "
            f"any {needed} slots give all answers."
        )

    def __reduce__(self) -> tuple[type["NotRecoverable"], tuple[object, ...]]:
        return type(self), (self.slots, self.lost_answers, self.needed)


class Code(ABC):
    """k answers from any large enough set of n slots. Concrete codes are final frozen dataclasses.

    Attributes:
        name: in the registry; `summary`: one line; `source`: key into codes/refs.bib or "".
        exact: answers equal the uncoded ones for every program, or only estimate them.
        slow: encode runs a network, which takes milliseconds, not microseconds.
        free: parameters that may differ from those that a trained code was trained with.
        k: answers in a coding group.
        n: slots, that is shards sent to distinct workers.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    exact: ClassVar[bool]
    slow: ClassVar[bool] = False
    free: ClassVar[frozenset[str]] = frozenset()
    k: int
    n: int

    @property
    def q(self) -> int:
        """Queries in a group: k for codes over queries."""
        return self.k

    @property
    def model_roles(self) -> tuple[str, ...]:
        """Roles whose programs give the answers: "base", or several where a group asks several
        models. k is q times their number, and answer m * q + j is that of model m to query j."""
        return (BASE,)

    @property
    def independent(self) -> int:
        """Answers that do not follow from the others: all k, most often."""
        return self.k

    @property
    def spares(self) -> int:
        """Of the slots, the last ones that are sent only in place of late ones."""
        return 0

    @final
    @property
    def sent(self) -> int:
        """Slots that are sent at once, to so many workers."""
        return self.n - self.spares

    @property
    def usual_responders(self) -> int:
        """How many are worth waiting for, if nobody says otherwise: more than 1 where any slots
        decode, and few of them badly."""
        return 1

    def first_slots(self, answers: Sequence[int]) -> tuple[int, ...]:
        """The slots worth sending at once where these answers are wanted; the others are sent when
        one of them is late or lost."""
        return tuple(range(self.sent))

    @property
    def pads(self) -> int:
        """Random pads that a group is encoded with, which hide its queries from single slots."""
        return 0

    @property
    def is_trained(self) -> bool:
        """Whether networks of the code's own, if it has any, have learned something."""
        return True

    @property
    @abstractmethod
    def recovery_threshold(self) -> int:
        """Smallest number such that any that many slots give all k answers."""

    @property
    def roles(self) -> tuple[str, ...]:
        """What each slot runs, by name; length n."""
        return (BASE,) * self.n

    @property
    def widths(self) -> tuple[int, ...]:
        """Per slot: 0 where a result is one answer [g, *answer], or m where it is m rows of them,
        [g, m, *answer]. Length n."""
        return (0,) * self.n

    @final
    def rows_of(self, slots: Sequence[int]) -> list[int]:
        """The rows of the results of some slots, in the order of the slots."""
        return [row for slot in slots for row in self._rows[slot]]

    @property
    def query_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of a query that encode takes: some of them, for those who try a code out."""
        return ((), (3,), (2, 3, 4))

    @property
    def answer_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of an answer that decode takes: some of them, for those who try a code out."""
        return ((), (3,), (2, 3, 4))

    @property
    @abstractmethod
    def own_slots(self) -> tuple[tuple[int, ...], ...]:
        """Per answer: the slots whose result is that answer, untouched. Length k."""

    @property
    def exact_case(self) -> ExactCase:
        """What must be exact; of an approximate code a special case. See `codes.contract`."""
        if not self.exact:
            raise NotImplementedError(f"{self!r} must declare where it is exact.")
        says = f"every program, from any {self.recovery_threshold} slots"
        return ExactCase("any", identity_rows(self.k), self.recovery_threshold, says)

    @final
    def encode(
        self,
        queries: Float[Tensor, "g q *query"],
        pads: Float[Tensor, "g t *query"] | None = None,
    ) -> list[Float[Tensor, " g *query"]]:
        """Make the n shards of g coding groups.

        Args:
            queries: floating point, of any device; left as they are.
            pads: t = `pads` random numbers for each entry of a group, drawn afresh for every call,
                like the queries in all else. None means zeros: then nothing is hidden.

        Returns:
            n contiguous tensors of the same dtype and device, one a slot: [g, *query], or as the
            program of the slot's role takes it. They may share memory with each other and with
            the queries: read only.

        Raises:
            ValueError: not g >= 1 groups of q queries, or not floating point; or pads of another
                number, shape or dtype.
        """
        check_queries(queries, self.q)
        if not self.pads and pads is None:
            return self._encode(queries)
        return self._encode(padded(queries, pads, self.pads))

    @final
    def gain(self, slots: Sequence[int]) -> Float64[np.ndarray, " k"]:
        """What these responders are worth, per answer.

        Returns:
            1 where an own slot is among them; else the 2-norm of the decoder's row, by which
            noise of the results grows; inf where the answer cannot be had.

        Raises:
            ValueError: a slot is out of range or named twice, or there is none.
        """
        return self._known_gain(sorted_slots(slots, self.n)).copy()

    @final
    def recoverable(self, slots: Sequence[int]) -> bool:
        """Whether these responders give all k answers."""
        return bool(np.isfinite(self._known_gain(sorted_slots(slots, self.n))).all())

    @final
    def expected_error(self, slots: Sequence[int]) -> Float64[np.ndarray, " k"] | None:
        """How wrong decoded answers will be, per answer, as far as the code can tell.

        Returns:
            Expected squared error over the variance of the answers: 0 for own and exact answers,
            1 for a guess no better than the mean, inf where nothing is decoded. None: unknown.
        """
        return self._expected_error(sorted_slots(slots, self.n))

    def residual(self, results: Sequence[Float[Tensor, " g *answer"]]) -> float | None:
        """How badly the results of all n slots fit together, as a share of their size; None where
        the code cannot tell. A figure to watch: it grows when somebody lies or a model changes."""
        return None

    def suspects(self, results: Sequence[Float[Tensor, " g *answer"]]) -> tuple[int, ...]:
        """The slots that seem to be wrong, if the results of all n fit together worse than nearly
        all honest ones do; all slots, where it cannot be told whose."""
        return ()

    @final
    def decode(
        self,
        results: Sequence[Float[Tensor, " g *answer"]],
        slots: Sequence[int],
        answers: Sequence[int] | None = None,
    ) -> Float[Tensor, "g a *answer"]:
        """Get answers from the results of the slots that responded.

        Args:
            results: one a slot, [g, *answer] or [g, widths[slot], *answer], all of one dtype and
                device; left as they are.
            slots: `results[i]` is of `slots[i]`; any order.
            answers: the wanted ones, in the order wanted; all k by default. Only these need be
                decodable.

        Returns:
            A tensor of its own memory. Own answers are copies bit for bit.

        Raises:
            NotRecoverable: a wanted answer cannot be had from these slots.
            ValueError: slots or answers out of range or twice, shapes that differ, or a result
                that is not finite where it would be multiplied: the message names the slot.
        """
        results, ordered = in_order(results, slots, self.widths)
        wanted = self._all_answers if answers is None else checked_answers(answers, self.k)
        if (ordered, wanted) not in self._decodable:
            gain = self._known_gain(ordered)
            lost = [j for j in wanted if gain[j] == np.inf]
            if lost:
                raise NotRecoverable(ordered, lost, self.recovery_threshold)
            remember(self._decodable, (ordered, wanted), True)
        return self._decode(results, ordered, wanted)

    # What a concrete code implements; arguments are checked, pads follow queries, slots are sorted.

    @abstractmethod
    def _encode(self, queries: Tensor) -> list[Tensor]: ...

    @abstractmethod
    def _gain(self, slots: tuple[int, ...]) -> Vector: ...

    @abstractmethod
    def _decode(
        self, results: Sequence[Tensor], slots: tuple[int, ...], answers: tuple[int, ...]
    ) -> Tensor: ...

    def _expected_error(self, slots: tuple[int, ...]) -> Vector | None:
        if not self.exact:
            return None
        return np.where(np.isfinite(self._known_gain(slots)), 0.0, np.inf)

    # What is remembered of sets of responders.

    @cached_property
    def _rows(self) -> tuple[range, ...]:
        ends = np.cumsum([max(1, width) for width in self.widths]).tolist()
        return tuple(map(range, [0, *ends], ends))

    @cached_property
    def _all_answers(self) -> tuple[int, ...]:
        return tuple(range(self.k))

    @cached_property
    def _gains(self) -> dict[tuple[int, ...], Vector]:
        """Gains of responder sets seen; shared by threads, and at worst computed twice."""
        return {}

    @cached_property
    def _decodable(self) -> dict[tuple[tuple[int, ...], tuple[int, ...]], bool]:
        """Responders and answers that were found to go together."""
        return {}

    def _known_gain(self, slots: tuple[int, ...]) -> Vector:
        known = self._gains.get(slots)
        if known is None:
            known = self._gain(slots)
            known.flags.writeable = False
            remember(self._gains, slots, known)
        return known


def remember(kept: dict[K, V], key: K, value: V, most: int | None = None) -> None:
    """Keep a value in a bounded dictionary, of SETS_KEPT where nothing is said: a full one starts
    anew."""
    if len(kept) >= (SETS_KEPT if most is None else most):
        kept.clear()
    kept[key] = value
