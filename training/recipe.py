"""How long, how fast and how precisely to learn: what a user may set of any training."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

from codes.checks import check_choice

AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
PRECISIONS = (AUTO, FLOAT32, BFLOAT16)


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to learn.

    Attributes:
        epochs: at most this many passes over the training examples.
        batch_size: examples a step.
        learning_rate: the highest of a one-cycle schedule.
        weight_decay: of AdamW.
        patience: stop after this many epochs without a better score.
        averaging: weights are averaged exponentially over this share of all steps, and the average
            is what is scored and kept; 0: the last step's weights are.
        clip: norm to which the gradients of a step are cut; 0: they are not.
        precision: of the networks' arithmetic while they learn; weights and losses stay float32.
            "float32", "bfloat16", or "auto": the faster of both on this machine, timed when a run
            begins; on a busy one name it, where two runs shall give the same bytes.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 15
    averaging: float = 0.01
    clip: float = 0.0
    precision: str = "auto"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """A recipe from fields by name, as a user gives them.

        Raises:
            ValueError: no such field, or a value of another kind; says what is accepted.
        """
        accepted = {item.name: type(item.default) for item in fields(cls)}
        for name, value in settings.items():
            if name not in accepted:
                near = get_close_matches(name, accepted, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"A recipe has no {name!r}, only {', '.join(accepted)}.{hint}")
            kind = accepted[name]
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ValueError(
                    f"Argument {name!r} must be of type {kind.__name__}, not {value!r}."
                )
        return cls(**settings)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Argument {name!r} must be at least 1, not {getattr(self, name)}."
                )
        if not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise ValueError(
                "Argument 'learning_rate' must be above 0 and 'weight_decay' not below, "
                f"not {self.learning_rate} and {self.weight_decay}."
            )
        if not 0 <= self.averaging < 1:
            raise ValueError(f"Argument 'averaging' must be in [0, 1), not {self.averaging}.")
        if not self.clip >= 0:
            raise ValueError(f"Argument 'clip' must be at least 0, not {self.clip}.")
        check_choice("precision", self.precision, PRECISIONS)
