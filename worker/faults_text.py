"""The `faults` object as it is written, in YAML files, JSON flags and messages; in milliseconds.

Checked whole before anything is injected; `FaultsText.laws` gives the same in seconds, which
`worker/faults.py` draws from. A trace may be named by its file, which is read where the text is
(`FaultsText.inlined`): a worker opens no file that a message names.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    model_validator,
)

from kofn.settings import SettingsError, parse_yaml
from worker import faults, laws

LONGEST_TRACE = 1_000_000  # values; 8 MB in memory

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Above = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Probability = Annotated[float, Field(ge=0, le=1, strict=True)]
Chance = Annotated[float, Field(gt=0, le=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class Text(BaseModel):
    """What all of these are: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DelayText(Text):
    """What all delays say beside their law."""

    probability: Probability = 1.0
    interruptible: StrictBool = False

    @abstractmethod
    def law_s(self) -> laws.Law | laws.Bursts:
        """The law, in seconds."""


class ConstantText(DelayText):
    """Always `value_ms`."""

    law: Literal["constant"]
    value_ms: Milliseconds

    def law_s(self) -> laws.Law:
        """See `DelayText`."""
        return laws.Constant(self.value_ms / 1e3)


class ScaledText(DelayText):
    """Laws of a shape, moved and stretched."""

    shift_ms: Milliseconds = 0.0
    scale_ms: Above


class ExponText(ScaledText):
    """Shifted exponential, mean `shift_ms + scale_ms`."""

    law: Literal["expon"]

    def law_s(self) -> laws.Law:
        """See `DelayText`."""
        return laws.Expon(self.shift_ms / 1e3, self.scale_ms / 1e3)


class ParetoText(ScaledText):
    """Pareto of index `b`; none is below `shift_ms + scale_ms`."""

    law: Literal["pareto"]
    b: Above

    def law_s(self) -> laws.Law:
        """See `DelayText`."""
        return laws.Pareto(self.shift_ms / 1e3, self.scale_ms / 1e3, self.b)


class WeibullMinText(ScaledText):
    """Weibull of shape `c`."""

    law: Literal["weibull_min"]
    c: Above

    def law_s(self) -> laws.Law:
        """See `DelayText`."""
        return laws.WeibullMin(self.shift_ms / 1e3, self.scale_ms / 1e3, self.c)


class LognormText(ScaledText):
    """Log-normal of shape `s`; `scale_ms` is the median."""

    law: Literal["lognorm"]
    s: Above

    def law_s(self) -> laws.Law:
        """See `DelayText`."""
        return laws.Lognorm(self.shift_ms / 1e3, self.scale_ms / 1e3, self.s)


class BimodalText(DelayText):
    """`slow_ms` with a probability, else `fast_ms`."""

    law: Literal["bimodal"]
    fast_ms: Milliseconds = 0.0
    slow_ms: Milliseconds
    slow_probability: Probability

    def law_s(self) -> laws.Law:
        """See `DelayText`."""
        return laws.Bimodal(self.fast_ms / 1e3, self.slow_ms / 1e3, self.slow_probability)


class BurstsText(DelayText):
    """Gilbert-Elliott: spells of slow tasks, 1/`leave_probability` tasks long on average."""

    law: Literal["bursts"]
    fast_ms: Milliseconds = 0.0
    slow_ms: Milliseconds
    enter_probability: Chance
    leave_probability: Chance

    def law_s(self) -> laws.Bursts:
        """See `DelayText`."""
        return laws.Bursts(
            self.fast_ms / 1e3, self.slow_ms / 1e3, self.enter_probability, self.leave_probability
        )


class TraceText(DelayText):
    """Recorded delays, drawn again at random: given here, or in a file of one number a line."""

    law: Literal["trace"]
    delays_ms: tuple[Milliseconds, ...] = Field(default=(), max_length=LONGEST_TRACE)
    file: Path | None = None  # beside the scenario; read where the scenario is, not by the worker

    @model_validator(mode="after")
    def _one_source(self) -> "TraceText":
        if bool(self.delays_ms) == (self.file is not None):
            raise ValueError("must have one of 'delays_ms' (at least one number) and 'file'.")
        return self

    def read(self, folder: Path) -> "TraceText":
        """The same law with the numbers of its file in it; raises SettingsError."""
        if self.file is None:
            return self
        path = folder / self.file
        try:
            values = [float(line) for line in path.read_text().split()]
            return TraceText(
                law="trace",
                delays_ms=tuple(values),
                probability=self.probability,
                interruptible=self.interruptible,
            )
        except OSError as error:
            raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise SettingsError(
                f"{path}: must have one number of milliseconds a line, 0 or more, at least one."
            ) from error

    def law_s(self) -> laws.Law:
        """See `DelayText`; raises ValueError while the numbers are in a file."""
        if self.file is not None:
            raise ValueError(f"delay: the trace {str(self.file)!r} must be sent as 'delays_ms'.")
        return laws.Trace(tuple(value / 1e3 for value in self.delays_ms))


class ScipyText(DelayText):
    """Any other continuous distribution of `scipy.stats`, with its shape parameters by name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    law: str
    shift_ms: float = Field(default=0.0, allow_inf_nan=False)
    scale_ms: Above = 1.0

    @model_validator(mode="after")
    def _known(self) -> "ScipyText":
        from scipy import stats  # as in `laws.Scipy`

        distribution = getattr(stats, self.law, None)
        if not isinstance(distribution, stats.rv_continuous):
            raise ValueError(
                f"law must not be {self.law!r}; accepted: {', '.join(LAWS)}, or the name of a "
                "continuous distribution of scipy.stats."
            )
        wanted = [name.strip() for name in (distribution.shapes or "").split(",") if name.strip()]
        given = self.model_extra or {}
        if sorted(given) != sorted(wanted):
            raise ValueError(
                f"law {self.law!r} must have the shape parameters {wanted} beside shift_ms and "
                f"scale_ms, not {sorted(given)}."
            )
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"shape parameter {name!r} must be a number, not {value!r}.")
        # scipy answers NaN, not an error, where shapes are out of range
        if any(math.isnan(self.law_s().quantile_s(level)) for level in (0.5, 0.999)):
            raise ValueError(f"law {self.law!r} has no quantiles at {given}.")
        return self

    def law_s(self) -> laws.Law:
        """See `DelayText`."""
        shapes = {name: float(value) for name, value in (self.model_extra or {}).items()}
        return laws.Scipy(self.law, shapes, self.shift_ms / 1e3, self.scale_ms / 1e3)


LAWS = (
    "constant",
    "expon",
    "pareto",
    "weibull_min",
    "lognorm",
    "bimodal",
    "bursts",
    "trace",
)


def _delay_kind(value: Any) -> str:
    law = value.get("law") if isinstance(value, Mapping) else getattr(value, "law", None)
    return law if law in LAWS else "scipy"


AnyDelay = Annotated[
    Annotated[ConstantText, Tag("constant")]
    | Annotated[ExponText, Tag("expon")]
    | Annotated[ParetoText, Tag("pareto")]
    | Annotated[WeibullMinText, Tag("weibull_min")]
    | Annotated[LognormText, Tag("lognorm")]
    | Annotated[BimodalText, Tag("bimodal")]
    | Annotated[BurstsText, Tag("bursts")]
    | Annotated[TraceText, Tag("trace")]
    | Annotated[ScipyText, Tag("scipy")],
    Discriminator(_delay_kind),
]


class FailureText(Text):
    """One way to fail, from a moment on or by chance."""

    kind: faults.Kind
    at_s: Seconds | None = None
    probability: Chance | None = None

    @model_validator(mode="after")
    def _one_cause(self) -> "FailureText":
        if (self.at_s is None) == (self.probability is None):
            raise ValueError("must have one of 'at_s' and 'probability'.")
        return self


class LieText(Text):
    """What all corruptions say beside their law."""

    probability: Chance = 1.0
    update_probability: Chance | None = None  # of steps on matrices held; by default none


class GaussianText(LieText):
    """Noise of standard deviation `scale`, in units of the results."""

    law: Literal["gaussian"]
    scale: Above = 1.0


class OtherCorruptionText(LieText):
    """Corruptions without a parameter."""

    law: Literal["sign-flip", "swap", "bit-flip"]


CorruptionText = Annotated[GaussianText | OtherCorruptionText, Field(discriminator="law")]


class FaultsText(Text):
    """The `faults` object; empty is no fault at all."""

    seed: Seed = 0
    delay: AnyDelay | None = None
    failure: FailureText | None = None
    corruption: CorruptionText | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """What goes wrong, in a word each: "delay", "corruption", and the kind of failure."""
        parts = {"delay": self.delay, "corruption": self.corruption}
        failure = (self.failure.kind,) if self.failure else ()
        return (*(name for name, part in parts.items() if part), *failure)

    def laws(self) -> faults.Faults:
        """The same in seconds, ready to draw from; raises ValueError for a trace in a file."""
        delay, failure, lie = self.delay, self.failure, self.corruption
        return faults.Faults(
            seed=self.seed,
            delay=faults.Delay(delay.law_s(), delay.probability, delay.interruptible)
            if delay
            else None,
            failure=faults.Failure(failure.kind, failure.at_s, failure.probability or 0.0)
            if failure
            else None,
            corruption=faults.Corruption(
                lie.law, lie.probability, _scale(lie), lie.update_probability or 0.0
            )
            if lie
            else None,
        )

    def json_text(self) -> str:
        """One line of JSON that `parse_faults` reads back as the same faults."""
        return self.model_dump_json(exclude_none=True)

    def inlined(self, folder: Path) -> "FaultsText":
        """The same with a trace's numbers in it; raises SettingsError."""
        if not isinstance(self.delay, TraceText):
            return self
        return self.model_copy(update={"delay": self.delay.read(folder)})


def parse_faults(text: str) -> FaultsText:
    """The faults of a JSON or YAML text; an empty one clears them all.

    Raises:
        SettingsError: field by field what is wrong and what is accepted.
    """
    return parse_yaml(text, FaultsText, source="faults")


def _scale(law: GaussianText | OtherCorruptionText) -> float:
    return law.scale if isinstance(law, GaussianText) else 1.0
