"""When to stop waiting: for own answers, for more responders, for a slot's first send.

A policy belongs to a deployment and is frozen; a request may have its own by
`dataclasses.replace`. It turns into moments when a coded batch starts and is obeyed by `gather`.
It reads no clock and measures nothing.
"""

import re
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, Protocol, get_args

from master.extras import Extras
from master.latency import Latency

Wait = Literal["first", "soft", "all", "adaptive"]

FLOOR_S = 0.002  # a timer on a busy event loop is about a millisecond late
FALLBACK_S = 0.1  # before quantiles mean anything: cold workers answer slowly, so be patient
REPLY_MARGIN_S = 0.005  # what an answer needs from the master to the client, at least
REPLY_MARGIN_SHARE = 0.05  # ... and as a share of the time that the client allowed
MOST_EXTRA = 8  # tasks for each task: nine copies
MIN_SAMPLES = 20  # a p95 has one sample beyond it then

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(us|ms|s)")
_QUANTILE = re.compile(r"(?:(\d+(?:\.\d+)?|\.\d+)\s*\*\s*)?p(\d{1,2}(?:\.\d+)?)")
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Delay:
    """A delay that is fixed, follows a quantile of the measured latencies, or never ends.

    Args:
        fixed_s: seconds; excludes `quantile`.
        quantile: in 0..1; the delay is factor * that quantile, at least `floor_s`.
        factor: multiplies the quantile.
        floor_s: a followed quantile never gives less (fixed delays are taken as they are).
        fallback_s: what a followed quantile gives while fewer than 20 samples are known.
    """

    fixed_s: float | None = None
    quantile: float | None = None
    factor: float = 1.0
    floor_s: float = FLOOR_S
    fallback_s: float = FALLBACK_S

    def __post_init__(self) -> None:
        if self.fixed_s is not None and self.quantile is not None:
            raise ValueError("A delay is either fixed or follows a quantile, not both.")
        if self.fixed_s is not None and not 0.0 <= self.fixed_s < inf:
            raise ValueError(f"A fixed delay must be at least 0 s and finite, not {self.fixed_s}.")
        if self.quantile is not None and not 0.0 <= self.quantile <= 1.0:
            raise ValueError(f"A delay's quantile must be in 0..1, not {self.quantile}.")
        for name in ("factor", "floor_s", "fallback_s"):
            value = getattr(self, name)
            if not 0.0 < value < inf:
                raise ValueError(f"A delay's {name} must be above 0 and finite, not {value}.")

    @classmethod
    def parse(cls, text: str | None) -> "Delay":
        """Read "20ms", "0.02s", "p95", "3*p50", "none" or None.

        Raises:
            ValueError: anything else; the message says what is accepted.
        """
        if text is None or text == "none":
            return NEVER
        if isinstance(text, str):  # a YAML file may hold a bare number: unit forgotten
            if match := _DURATION.fullmatch(text.strip()):
                return cls(fixed_s=float(match[1]) * _UNIT_S[match[2]])
            if match := _QUANTILE.fullmatch(text.strip()):
                return cls(quantile=float(f"{match[2]}e-2"), factor=float(match[1] or 1))
        raise ValueError(
            f'A delay is a duration ("20ms", "0.02s"), a quantile of the measured latency '
            f'("p95", "3*p50") or "none", not {text!r}.'
        )

    def at(self, latency: Latency) -> float | None:
        """Seconds from the start; None when the delay never ends."""
        if self.fixed_s is not None:
            return self.fixed_s
        if self.quantile is None:
            return None
        if latency.count < MIN_SAMPLES:
            return self.fallback_s
        measured_s = latency.quantile(self.quantile)
        assert measured_s is not None  # count was checked
        return max(self.floor_s, self.factor * measured_s)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        if self.fixed_s is not None:
            return f"{1e3 * self.fixed_s:.12g}ms"
        if self.quantile is None:
            return "none"
        factor = "" if self.factor == 1.0 else f"{self.factor:.12g}*"
        return f"{factor}p{100 * self.quantile:.12g}"


NEVER = Delay()


@dataclass(frozen=True)
class Moments:
    """A policy's delays as monotonic seconds; None is never."""

    soft_at: float | None  # from now on whatever is decodable is taken
    hedge_at: float | None  # slots that are still out are sent again; and after as long once more
    extras: Extras | None = None  # under "adaptive": what is sent then, and again and again
    recheck_s: float = inf  # how long a second result of a slot in doubt is waited for


@dataclass(frozen=True)
class Policy:
    """When a coded batch decodes, hedges and gives up a slot.

    Args:
        wait: "first": decode as soon as the responders allow it. "soft": own answers are taken as
            they come, missing ones are decoded from the soft deadline on, or earlier when waiting
            cannot improve them. "all": wait until every slot has replied or is lost. "adaptive":
            as "soft", by deadlines that are learned (`master.adaptive`), and nothing beyond what
            gives the answers is sent before them, unless the budget pays for it.
        soft_deadline: the end of patience for "soft", for "adaptive" if it is sooner than what is
            learned, and for "first" the end of `gain_limit`; and how long a result that is asked
            for again (`recheck`) is waited for.
        hedge: when slots still out are sent again, and how long after each hedge those that are
            out even then; None is never.
        max_sends: of one slot, the first and all hedges included.
        gain_limit: before the soft moment a decoded answer is taken only when its gain is at most
            this.
        recovery_threshold: responders to wait for before anything is decoded, as long as there
            is time and they can still come; None leaves it to the code. Own answers do not wait.
        liars: wrong results that a batch must survive, at most. Above 0 no answer is given before
            its results have been judged, and they are judged when max(R, k) + 2 liars are in: an
            exact code answers from no fewer, another does when time is nearly up.
        recheck: share of honest batches in which another worker may be asked for a result again,
            before anybody is said to lie, 0 or more and below 1; never where the code is exact, and
            proves who lies.
        budget: of "adaptive": extra tasks for each task, as a share.

    Raises:
        ValueError: a value out of range, or a hedge that `max_sends` forbids.
    """

    wait: Wait = "soft"
    soft_deadline: Delay = Delay(quantile=0.5, factor=3.0)
    hedge: Delay | None = None
    max_sends: int = 3
    gain_limit: float = inf
    recovery_threshold: int | None = None
    liars: int = 0
    recheck: float = 0.4
    budget: float = 0.08

    def __post_init__(self) -> None:
        if self.wait not in get_args(Wait):
            accepted = ", ".join(f'"{name}"' for name in get_args(Wait))
            raise ValueError(f"Argument 'wait' must be one of {accepted}, not {self.wait!r}.")
        if self.max_sends < 1:
            raise ValueError(f"Argument 'max_sends' must be at least 1, not {self.max_sends}.")
        if self.hedge not in (None, NEVER) and self.max_sends < 2:
            raise ValueError("Argument 'max_sends' must be at least 2 for a hedge, not 1.")
        if not self.gain_limit > 0.0:
            raise ValueError(f"Argument 'gain_limit' must be above 0, not {self.gain_limit}.")
        if self.recovery_threshold is not None and self.recovery_threshold < 1:
            raise ValueError(
                f"Argument 'recovery_threshold' must be at least 1, not {self.recovery_threshold}."
            )
        if self.liars < 0:
            raise ValueError(f"Argument 'liars' must be at least 0, not {self.liars}.")
        if not 0.0 <= self.recheck < 1.0:
            raise ValueError(
                f"Argument 'recheck' must be at least 0 and below 1, not {self.recheck}."
            )
        if self.wait == "adaptive" and self.hedge not in (None, NEVER):
            raise ValueError(
                f"Argument 'hedge' must be none, not {self.hedge}, where 'wait' is \"adaptive\": "
                "late slots are sent again by what is learned."
            )
        if not 0.0 < self.budget <= MOST_EXTRA:
            raise ValueError(
                f"Argument 'budget' must be above 0 and at most {MOST_EXTRA}, not {self.budget}."
            )

    def __str__(self) -> str:
        """For a person: what differs from doing nothing special."""
        words: list[str] = [self.wait]
        if self.wait == "soft":
            words = [f"{self.wait} {self.soft_deadline}"]
        elif self.wait == "adaptive":
            words = [f"{self.wait}, budget {100 * self.budget:g} %"]
        if self.hedge not in (None, NEVER):
            words.append(f"hedge {self.hedge}")
        if self.gain_limit < inf:
            words.append(f"gain up to {self.gain_limit:g}")
        if self.recovery_threshold is not None:
            words.append(f"R = {self.recovery_threshold}")
        if self.liars:
            words.append(f"{self.liars} liar{'s' * (self.liars > 1)}")
        return ", ".join([*words, f"at most {self.max_sends} sends"])

    def moments(self, latency: Latency, started: float) -> Moments:
        """The absolute moments of a batch that starts at `started` (monotonic seconds).

        Those of "adaptive" are learned: they are told by `master.adaptive`.
        """
        assert self.wait != "adaptive", "its moments are Adaptive's to tell"
        patience_s = usual_s = self.soft_deadline.at(latency)
        if self.wait == "all":
            patience_s = None
        elif self.wait == "first" and self.gain_limit == inf:
            patience_s = 0.0  # nothing to be patient for
        hedge_s = self.hedge.at(latency) if self.hedge is not None else None
        return Moments(
            soft_at=None if patience_s is None else started + patience_s,
            hedge_at=None if hedge_s is None else started + hedge_s,
            recheck_s=inf if usual_s is None or not self.liars else usual_s,
        )


def reply_margin_s(allowed_s: float) -> float:
    """How long before a client's deadline what is there must leave, of the time it allowed."""
    return max(REPLY_MARGIN_S, REPLY_MARGIN_SHARE * allowed_s)


class Waits(Protocol):
    """What a policy reads of a code."""

    @property
    def usual_responders(self) -> int: ...


def usual(policy: Policy, code: Waits) -> Policy:
    """The policy with the code's own number of responders, where it names none and that matters."""
    if policy.recovery_threshold is not None or code.usual_responders == 1:
        return policy
    return replace(policy, recovery_threshold=code.usual_responders)
