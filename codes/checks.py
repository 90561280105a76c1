"""Checks arguments of codes; a refusal names the argument, what is wanted, and the value."""

from collections.abc import Collection, Sequence
from operator import index
from typing import NoReturn

import torch
from torch import Tensor

MOST_SLOTS = 256  # slots go to distinct workers; matrices beyond this size are a slip of the pen


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


def check_queries(queries: Tensor, q: int) -> None:
    """Check the coding groups that are to be encoded.

    Raises:
        ValueError: not [g >= 1, q, *query], or not floating point.
    """
    shape = queries.shape
    if len(shape) < 2 or shape[1] != q or shape[0] < 1:
        raise ValueError(
            f"Argument 'queries' must have the shape [g >= 1, q = {q}, *query], not {list(shape)}."
        )
    if not queries.is_floating_point():
        raise ValueError(f"Argument 'queries' must be floating point, not {queries.dtype}.")


def padded(queries: Tensor, pads: Tensor | None, number: int) -> Tensor:
    """[g, q + number, *query]: queries [g, q, *query] and behind them their pads, or zeros.

    Raises:
        ValueError: pads of another number, shape or dtype.
    """
    wanted = (queries.shape[0], number, *queries.shape[2:])
    if pads is None:
        pads = queries.new_zeros(wanted)
    if pads.shape != wanted or pads.dtype != queries.dtype:
        raise ValueError(
            f"Argument 'pads' must be {queries.dtype} {list(wanted)}, "
            f"not {pads.dtype} {list(pads.shape)}."
        )
    return torch.cat([queries, pads], dim=1)


def in_order(
    results: Sequence[Tensor], slots: Sequence[int], widths: Sequence[int]
) -> tuple[Sequence[Tensor], tuple[int, ...]]:
    """Results by ascending slot, and these slots.

    Args:
        results: `results[i]` is of `slots[i]`.
        slots: any order.
        widths: of all slots, as `Code.widths`.

    Raises:
        ValueError: slots out of range or twice, shapes or dtypes that do not go together.
    """
    given = tuple(slots)
    ordered = sorted_slots(given, len(widths))
    if len(results) != len(ordered):
        raise ValueError(
            f"Argument 'results' must have one result a slot, {len(ordered)}, not {len(results)}."
        )
    if given != ordered:
        by_slot = dict(zip(map(index, given), results, strict=True))
        results = [by_slot[slot] for slot in ordered]
    _check_results(results, ordered, widths)
    return results, ordered


def sorted_slots(slots: Sequence[int], n: int) -> tuple[int, ...]:
    """Ascending.

    Raises:
        ValueError: a slot is out of range or named twice, or there is none.
    """
    ordered = tuple(sorted(map(index, slots)))
    if not ordered:
        raise ValueError("Argument 'slots' must name at least 1 slot, not 0.")
    if ordered[0] < 0 or ordered[-1] >= n or len(set(ordered)) != len(ordered):
        _refuse("slots", ordered, n)
    return ordered


def checked_answers(answers: Sequence[int], k: int) -> tuple[int, ...]:
    """As they are.

    Raises:
        ValueError: an answer is out of range or named twice, or there is none.
    """
    wanted = tuple(map(index, answers))
    if not wanted:
        raise ValueError("Argument 'answers' must name at least 1 answer, not 0.")
    if min(wanted) < 0 or max(wanted) >= k or len(set(wanted)) != len(wanted):
        _refuse("answers", wanted, k)
    return wanted


def _check_results(
    results: Sequence[Tensor], slots: tuple[int, ...], widths: Sequence[int]
) -> None:
    first = results[0]
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


def _refuse(argument: str, values: tuple[int, ...], limit: int) -> NoReturn:
    what = argument.removesuffix("s")
    for value in values:
        if not 0 <= value < limit:
            raise ValueError(
                f"Argument '{argument}' must name {argument} 0 to {limit - 1}, not {what} {value}."
            )
    twice = next(value for value in values if values.count(value) > 1)
    raise ValueError(f"Argument '{argument}' must name each {what} once, not {what} {twice} twice.")
