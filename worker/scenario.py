"""Scenarios: faults over time for a whole cluster, as files.

A step gives workers faults to inject, or does something to them from outside. Checked whole when
read. Does not carry a scenario out: whoever reads it asks `Scenario.due` for a step's workers when
its time has come, and sends them its faults (`FaultsText.json_text`) or carries out its action.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from kofn.settings import read_yaml
from worker.faults_text import FaultsText, Seconds, Seed, Text, parse_faults

__all__ = ["SCENARIOS", "FaultsText", "Scenario", "parse_faults", "read_scenario"]

SCENARIOS = Path(__file__).parent / "scenarios"  # the ones that come with the package


class CountText(Text):
    """So many workers, chosen by the scenario's seed."""

    count: int = Field(ge=1, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _one_of_three(cls, value: Any) -> Any:
        if isinstance(value, Mapping | CountText):
            return value
        raise ValueError(f"must not be {value!r}; accepted: all, [NAME, ...], {{count: NUMBER}}.")


def _workers_kind(value: Any) -> str:
    if value == "all":
        return "all"
    return "names" if isinstance(value, list | tuple) else "count"


Workers = Annotated[
    Annotated[Literal["all"], Tag("all")]
    | Annotated[CountText, Tag("count")]
    | Annotated[tuple[str, ...], Tag("names")],
    Discriminator(_workers_kind),
]


class ActionText(Text):
    """What is done to a worker's container, or to its process as far as a signal does it."""

    kind: Literal["pause", "unpause", "kill", "restart", "disconnect", "connect", "unlimit-cpu"]

    @property
    def cpus(self) -> None:
        """Only a limit has a number."""


class LimitText(Text):
    """So many CPUs and no more."""

    kind: Literal["limit-cpu"]
    cpus: Annotated[float, Field(ge=0.01, allow_inf_nan=False, strict=True)]


def _action_kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return "limit" if kind == "limit-cpu" else "action"


Action = Annotated[
    Annotated[ActionText, Tag("action")] | Annotated[LimitText, Tag("limit")],
    Discriminator(_action_kind),
]


class StepText(Text):
    """From `at_s` on, these workers have these faults in place of those before.

    Or, where there is an action, that is done to them, and their faults stay as they are.
    """

    at_s: Seconds
    workers: Workers = "all"
    faults: FaultsText = FaultsText()
    action: Action | None = None

    @model_validator(mode="after")
    def _faults_or_action(self) -> "StepText":
        if self.action is not None and "faults" in self.model_fields_set:
            raise ValueError("must have 'faults' or 'action', not both: make it two steps.")
        return self


class Scenario(Text):
    """Faults over time, for a whole cluster."""

    name: str = Field(min_length=1)
    description: str = ""
    seed: Seed = 0
    steps: tuple[StepText, ...]

    @model_validator(mode="after")
    def _in_order(self) -> "Scenario":
        if not self.steps:
            raise ValueError("steps must have at least one step.")
        times = [step.at_s for step in self.steps]
        if times != sorted(times):
            raise ValueError(f"steps must be in order of at_s, not {times}.")
        return self

    def due(self, step: int, workers: Sequence[str]) -> tuple[str, ...]:
        """Which of the workers at hand a step concerns, in order of their names.

        A choice by number depends on the seed, the step and the names, in no order.

        Raises:
            ValueError: a worker that the step names is not at hand, or there are too few.
        """
        chosen, known = self.steps[step].workers, sorted(workers)
        if chosen == "all":
            return tuple(known)
        if isinstance(chosen, CountText):
            if chosen.count > len(known):
                raise ValueError(
                    f"steps[{step}].workers.count must be at most {len(known)}, the workers at "
                    f"hand, not {chosen.count}."
                )
            picked = random.Random(f"{self.seed}/{step}").sample(known, chosen.count)
            return tuple(sorted(picked))
        missing = sorted(set(chosen) - set(known))
        if missing:
            raise ValueError(
                f"steps[{step}].workers must be of {', '.join(known)}, not {', '.join(missing)}."
            )
        return tuple(sorted(chosen))


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file, the traces that it names included.

    Raises:
        SettingsError: field by field what is wrong and what is accepted.
    """
    scenario = read_yaml(path, Scenario)
    steps = tuple(
        step.model_copy(update={"faults": step.faults.inlined(path.parent)})
        for step in scenario.steps
    )
    return scenario.model_copy(update={"steps": steps})
