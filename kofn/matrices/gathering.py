"""Answers of many workers to one question, waited for until they decode.

The rule: as soon as enough have come to decode and a few more to check, decode; where the decoder
refuses, wait for one more and try again. Those that fail are erased. When nobody is left to wait
for, what there is is decoded, checked or not, or the last refusal is told. Knows no product and no
code: what decodes is a function.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from codes.polydot import Inaccurate, NotRecoverable, TooManyErrors
from kofn.wire.errors import FailedPrecondition, KofnError, Unavailable

INACCURATE, WRONG, TOO_FEW = "inaccurate", "too-many-errors", "too-few-workers"  # reasons
REFUSALS = (NotRecoverable, Inaccurate, TooManyErrors)

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True)
class Gathered(Generic[T, D]):
    """What came of it.

    Attributes:
        decoded: what the decoder gave.
        results: what it was given, by node.
        failures: of nodes that failed before.
    """

    decoded: D
    results: Mapping[int, T]
    failures: Mapping[int, KofnError]


async def gathered(
    calls: Mapping[int, Coroutine[Any, Any, T]],
    decode: Callable[[Mapping[int, T]], D],
    *,
    fewest: int,
    spares: int = 1,
    tell: Callable[[str], None] = lambda news: None,
) -> Gathered[T, D]:
    """Ask all nodes at once; returns when their answers decode, and cancels what is late.

    Args:
        calls: by node; they end by themselves, since each has a deadline.
        decode: of results; runs in a thread, and raises one of `REFUSALS` where more may help.
        fewest: nodes that decode at all.
        spares: so many more are waited for while they may still come.
        tell: told why more answers are waited for than these.

    Raises:
        Unavailable: too few answered ("too-few-workers").
        FailedPrecondition: all that came does not decode: results are wrong and it cannot be told
            whose ("too-many-errors"), or the error would be over its limit ("inaccurate").
    """
    tasks = {asyncio.create_task(call): node for node, call in calls.items()}
    pending = set(tasks)
    results: dict[int, T] = {}
    failures: dict[int, KofnError] = {}
    wanted = fewest + spares
    refusal: Exception | None = None
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when="FIRST_COMPLETED")
            for task in done:
                try:
                    results[tasks[task]] = task.result()
                except KofnError as error:
                    failures[tasks[task]] = error
            if len(results) < fewest or (len(results) < wanted and pending):
                continue
            if refusal is not None and len(results) < wanted:
                continue  # a failure: nothing new to decode
            given = dict(results)
            try:
                decoded = await asyncio.to_thread(decode, given)
            except REFUSALS as error:
                refusal, wanted = error, len(given) + 1
                tell(str(error))
            else:
                return Gathered(decoded, given, failures)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise _refused(refusal, len(results), fewest, failures)


def _refused(
    refusal: Exception | None, answered: int, fewest: int, failures: Mapping[int, KofnError]
) -> KofnError:
    """Why nothing came of it, for a person."""
    failed = f"{len(failures)} failed" if failures else "none failed"
    reasons = "; ".join(sorted({f"{error.reason}: {error.message}" for error in failures.values()}))
    told = f" ({reasons[:500]})" if reasons else ""
    if refusal is None or isinstance(refusal, NotRecoverable):
        return Unavailable(
            f"{fewest} workers must answer, and {answered} have; {failed}{told}.", TOO_FEW
        )
    reason = INACCURATE if isinstance(refusal, Inaccurate) else WRONG
    return FailedPrecondition(
        f"{refusal} All {answered} answers that could be had are in; {failed}{told}.", reason
    )
