"""A sweep's plan as it is written: the keys of its file, with what each may be.

What only shows when all are seen together is checked in `bench.sweep.plan`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from bench.load.figures import Text
from worker.faults_text import FaultsText

Count = Annotated[int, Field(ge=0, le=256, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]


class ContentionText(Text):
    """Trouble that moves from worker to worker, as background traffic between machines does.

    Attributes:
        contended: faults of those that are in trouble.
        otherwise: of the others.
        workers: in trouble at a time, chosen at random.
        every_s: seconds after which others are chosen.
    """

    contended: FaultsText
    otherwise: FaultsText = FaultsText()
    workers: Annotated[Count, Field(ge=1)]
    every_s: Annotated[float, Field(ge=0.1, le=3600)]

    def inlined(self, folder: Path) -> "ContentionText":
        """The same with the numbers of traces in it; raises SettingsError."""
        changes = {name: getattr(self, name).inlined(folder) for name in ("contended", "otherwise")}
        return self.model_copy(update=changes)


def _straggler_kind(value: Any) -> str:
    is_moving = isinstance(value, ContentionText) or (
        isinstance(value, Mapping) and "contended" in value
    )
    return "contention" if is_moving else "faults"


Straggler = Annotated[
    Annotated[FaultsText, Tag("faults")] | Annotated[ContentionText, Tag("contention")],
    Discriminator(_straggler_kind),
]


class SystemText(Text):
    """A way to serve the model.

    Attributes:
        title: for a person; default: its name.
        baseline: it is there to be compared with.
        code, policy: as in a deployment file; without a policy of its own it is measured under each
            of the plan's `policies`.
        thresholds: recovery thresholds R; a system of its own for each.
        only: data sets that it can be had for; none is all.
        ray: it is Ray Serve with the same model, without a code.
    """

    title: str = ""
    baseline: bool = False
    code: dict[str, Any] = Field(default_factory=dict)
    policy: dict[str, Any] | None = None
    thresholds: tuple[Annotated[int, Field(ge=1, strict=True)], ...] = ()
    only: tuple[str, ...] = ()
    ray: bool = False


class PlanText(Text):
    """The file.

    Attributes:
        images: of the test set, at most, that are asked for.
        turns: rounds through all systems at a point; figures are told over all and for each.
        seconds: of load, for a system in a turn.
        rows: queries of a request.
        batching: of every deployment, as in a deployment file.
        batch_rows: coding groups that a worker runs at once, at most; None is its own limit.
        epochs: of what must be trained because the store lacks it; None is the usual number.
        lost: numbers of workers that are dead.
        stragglers: by a name, what workers inject: faults as in a scenario file, or contention.
    """

    name: Name
    title: str = ""
    dataset: str
    model: str
    backend: Literal["local", "docker"] = "local"
    images: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    turns: Annotated[int, Field(ge=1, le=100)] = 3
    seconds: Annotated[float, Field(ge=0.1, le=3600)] = 2.0
    deadline_ms: Annotated[int, Field(ge=1, le=60_000)] = 1000
    rows: Annotated[int, Field(ge=1, le=1024)] = 1
    batching: dict[str, Any] = Field(default_factory=dict)
    batch_rows: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    workers: Annotated[tuple[Annotated[Count, Field(ge=1)], ...], Field(min_length=1)]
    lost: Annotated[tuple[Count, ...], Field(min_length=1)] = (0,)
    loads: Annotated[tuple[Rate, ...], Field(min_length=1)]
    stragglers: Annotated[dict[Name, Straggler], Field(min_length=1)]
    policies: dict[Name, dict[str, Any]] = Field(default={"": {}})
    systems: Annotated[dict[Name, SystemText], Field(min_length=1)]
