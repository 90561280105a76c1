"""What answers are worth: accuracies that were measured, each with its source.

Of a model's own answers its card tells; of decoded ones the card of the trained code, or a record
of the benchmarks of exactly these programs. What was measured of neither is not guessed: it is no
candidate.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from codes import REGISTRY
from models.cards import Card
from models.trained import CodeCard
from report.cells import MEASURED, Cell

TEST = "test_accuracy"


@dataclass(frozen=True)
class Worth:
    """Accuracies of a deployment's answers, by how they are had.

    Attributes:
        direct: of a query whose own worker's result is taken.
        decoded: of one that is decoded, with as many lost slots as the code bears: the least that
            was measured, so that a plan does not promise too much.
        classes: a missing answer is worth a guess among so many.
        source: where the figures are from.
    """

    direct: float
    decoded: float
    classes: int
    source: str

    def overall(self, direct: float, decoded: float, missing: float) -> float:
        """Accuracy over all queries, of the shares of the three kinds of answers."""
        return direct * self.direct + decoded * self.decoded + missing / self.classes

    @property
    def best(self) -> float:
        """What no latency can be bought beyond."""
        return max(self.direct, self.decoded)


def of_base(card: Card) -> Worth:
    """Of a model's own answers, and of whatever decodes exactly.

    Raises:
        ValueError: the card has no accuracy on a test set.
    """
    metric = card.metrics.get(TEST)
    if metric is None:
        raise ValueError(
            f"The card of the model {card.name!r} has no {TEST}: a plan weighs accuracies. "
            f"Models of `kofn train base` have one."
        )
    source = f"card of {card.name}: {metric.count:,} test images"
    return Worth(metric.value, metric.value, len(card.classes), source)


def of_trained(base: Worth, card: CodeCard, lost: int) -> Worth | None:
    """Of a systematic trained code: own answers are the model's, the card tells of lost ones.

    Args:
        base: the model's own.
        card: of the code.
        lost: most slots of a group that it bears.
    """
    told = [card.metrics.get(name) for name in _names(lost)]
    known = [metric for metric in told if metric is not None]
    if not known:
        return None
    least = min(known, key=lambda metric: metric.value)
    source = f"card of {card.name}: {least.count:,} lost answers"
    return Worth(base.direct, least.value, base.classes, source)


def of_mixes(
    base: Worth, card: CodeCard, n: int, responders: int, cells: Iterable[Cell]
) -> Worth | None:
    """Of a code all of whose answers are decoded, from so many of n results.

    A record counts when its programs are the very ones of the card.
    """
    for cell in cells:
        same = cell.record.get("programs") == card.programs and cell.system == card.code
        if same and (cell.k, cell.n, cell.waited) == (card.parameters["k"], n, responders):
            worth = _of_record(base, cell)
            if worth is not None:
                return worth
    lost = card.parameters["n"] - responders
    if n != card.parameters["n"] or lost < 1:
        return None
    metric = card.metrics.get(_names(lost)[-1])
    if metric is None:
        return None
    source = f"card of {card.name}: {metric.count:,} answers"
    return Worth(metric.value, metric.value, base.classes, source)


def of_untrained(base: Worth, card: Card, cell: Cell) -> tuple[dict[str, Any], Worth] | None:
    """Of a code over the model itself that a record chose among others of its kind.

    Returns:
        The code as a deployment has it, and what its answers are worth: all of them are decoded.
        None where the record is of another model, or of something else.
    """
    figures = (cell.record.get("baselines") or {}).get(cell.system)
    chosen = figures.get("chosen") if isinstance(figures, Mapping) else None  # or one accuracy
    worth = _of_record(base, cell)
    if chosen is None or worth is None or cell.record.get("base_hash") != card.hash:
        return None
    return {**_code_of(chosen), "calibrated": cell.system.endswith(", calibrated")}, worth


def _of_record(base: Worth, cell: Cell) -> Worth | None:
    if cell.overall is None or cell.origin != MEASURED:
        return None
    source = (
        f"`{cell.record['command']}`, commit {cell.record['commit']}: {cell.groups:,} groups "
        f"of {cell.k}"
    )
    return Worth(cell.overall, cell.overall, base.classes, source)


def _code_of(text: str) -> dict[str, Any]:
    """Name and parameters of a code, from its repr."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)  # records are ours
    assert isinstance(call.func, ast.Name)
    (name,) = (name for name, kind in REGISTRY.items() if kind.__name__ == call.func.id)
    return {"name": name} | {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}


def _names(lost: int) -> list[str]:
    """Of a card's figures of lost answers, up to so many lost slots."""
    return ["lost_only", *(f"lost_only_{number}_lost" for number in range(2, lost + 1))]
