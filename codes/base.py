"""What a code is: the roles of its slots, an encode, and a decode.

A query's way leads through here twice: the master encodes k queries into n shards, and decodes the
k answers from the results of whichever slots responded. Public methods check their arguments once
and call the mathematics of the concrete code. Nothing here knows workers, programs or time.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from operator import index
from typing import ClassVar, NoReturn, TypeVar, final

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from codes.exact_case import ExactCase, identity_rows

BASE = "base"  # the role of slots that run the served model
MOST_SLOTS = 256  # slots go to distinct workers; matrices beyond this size are a slip of the pen
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
        shape = queries.shape
        if len(shape) < 2 or shape[1] != self.q or shape[0] < 1:
            raise ValueError(
                f"Argument 'queries' must have the shape [g >= 1, q = {self.q}, *query], "
                f"not {list(shape)}."
            )
        if not queries.is_floating_point():
            raise ValueError(f"Argument 'queries' must be floating point, not {queries.dtype}.")
        if not self.pads and pads is None:
            return self._encode(queries)
        wanted = (shape[0], self.pads, *shape[2:])
        if pads is None:
            pads = queries.new_zeros(wanted)
        if pads.shape != wanted or pads.dtype != queries.dtype:
            raise ValueError(
                f"Argument 'pads' must be {queries.dtype} {list(wanted)}, "
                f"not {pads.dtype} {list(pads.shape)}."
            )
        return self._encode(torch.cat([queries, pads], dim=1))

    @final
    def gain(self, slots: Sequence[int]) -> Float64[np.ndarray, " k"]:
        """What these responders are worth, per answer.

        Returns:
            1 where an own slot is among them; else the 2-norm of the decoder's row, by which
            noise of the results grows; inf where the answer cannot be had.

        Raises:
            ValueError: a slot is out of range or named twice, or there is none.
        """
        return self._known_gain(self._sorted(slots)).copy()

    @final
    def recoverable(self, slots: Sequence[int]) -> bool:
        """Whether these responders give all k answers."""
        return bool(np.isfinite(self._known_gain(self._sorted(slots))).all())

    @final
    def expected_error(self, slots: Sequence[int]) -> Float64[np.ndarray, " k"] | None:
        """How wrong decoded answers will be, per answer, as far as the code can tell.

        Returns:
            Expected squared error over the variance of the answers: 0 for own and exact answers,
            1 for a guess no better than the mean, inf where nothing is decoded. None: unknown.
        """
        return self._expected_error(self._sorted(slots))

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
        results, ordered = self._in_order(results, slots)
        wanted = self._all_answers if answers is None else self._checked_answers(answers)
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

    # Checks and what is remembered of them.

    def _in_order(
        self, results: Sequence[Tensor], slots: Sequence[int]
    ) -> tuple[Sequence[Tensor], tuple[int, ...]]:
        """Results by ascending slot, checked, and these slots."""
        given = tuple(slots)
        ordered = self._sorted(given)
        if len(results) != len(ordered):
            raise ValueError(
                f"Argument 'results' must have one result a slot, {len(ordered)}, "
                f"not {len(results)}."
            )
        if given != ordered:
            by_slot = dict(zip(map(index, given), results, strict=True))
            results = [by_slot[slot] for slot in ordered]
        self._check_results(results, ordered)
        return results, ordered

    def _check_results(self, results: Sequence[Tensor], slots: tuple[int, ...]) -> None:
        first, widths = results[0], self.widths
        shape, dtype = first.shape, first.dtype
        answer = shape[2:] if widths[slots[0]] else shape[1:]
        for slot, result in zip(slots, results, strict=True):
            width = widths[slot]
            wanted = (*shape[:1], width, *answer) if width else (*shape[:1], *answer)
            if result.shape != wanted or result.dtype != dtype:
                raise ValueError(
                    f"Result of slot {slot} must be {dtype} {list(wanted)} as the first says, "
                    f"not {result.dtype} {list(result.shape)}."
                )
        if not shape or shape[0] < 1 or not first.is_floating_point():
            raise ValueError(
                f"Argument 'results' must be floating point [g >= 1, *answer], "
                f"not {dtype} {list(shape)}."
            )

    def _sorted(self, slots: Sequence[int]) -> tuple[int, ...]:
        ordered = tuple(sorted(map(index, slots)))
        if not ordered:
            raise ValueError("Argument 'slots' must name at least 1 slot, not 0.")
        if ordered[0] < 0 or ordered[-1] >= self.n or len(set(ordered)) != len(ordered):
            _refuse("slots", ordered, self.n)
        return ordered

    def _checked_answers(self, answers: Sequence[int]) -> tuple[int, ...]:
        wanted = tuple(map(index, answers))
        if not wanted:
            raise ValueError("Argument 'answers' must name at least 1 answer, not 0.")
        if min(wanted) < 0 or max(wanted) >= self.k or len(set(wanted)) != len(wanted):
            _refuse("answers", wanted, self.k)
        return wanted

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


def remember(kept: dict[K, V], key: K, value: V) -> None:
    """Keep a value in a bounded dictionary: a full one starts anew."""
    if len(kept) >= SETS_KEPT:
        kept.clear()
    kept[key] = value


def check_size(argument: str, value: int, at_least: int, meaning: str = "") -> None:
    """Check k or n against its limits.

    Raises:
        ValueError: naming argument, requirement and value.
    """
    if type(value) is not int:
        raise ValueError(f"Argument '{argument}' must be a whole number, not {value!r}.")
    if value < at_least:
        least = f"{meaning} = {at_least}" if meaning else f"{at_least}"
        raise ValueError(f"Argument '{argument}' must be at least {least}, not {value}.")
    if value > MOST_SLOTS:
        raise ValueError(f"Argument '{argument}' must be at most {MOST_SLOTS}, not {value}.")


def check_choice(argument: str, value: str, known: Collection[str]) -> None:
    """Check a name against those that there are.

    Raises:
        ValueError: naming argument, what is accepted, and value.
    """
    if value not in known:
        raise ValueError(f"Argument '{argument}' must be one of {', '.join(known)}, not {value!r}.")


def _refuse(argument: str, values: tuple[int, ...], limit: int) -> NoReturn:
    what = argument.removesuffix("s")
    for value in values:
        if not 0 <= value < limit:
            raise ValueError(
                f"Argument '{argument}' must name {argument} 0 to {limit - 1}, not {what} {value}."
            )
    twice = next(value for value in values if values.count(value) > 1)
    raise ValueError(f"Argument '{argument}' must name each {what} once, not {what} {twice} twice.")
