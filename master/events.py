"""What a coded batch hears and what it wants done: the events and commands of `gather`.

Slot numbers only; `scatter` turns them into messages, results and time.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replied:
    """A usable result of this slot is here."""

    slot: int
    replaces_lie: bool = False  # what was set aside was one


@dataclass(frozen=True, slots=True)
class Lost:
    """One send of this slot came to nothing: refused, failed, or never left."""

    slot: int


@dataclass(frozen=True, slots=True)
class Judged:
    """The results of these responders were judged, as `Judge` asked."""

    slots: tuple[int, ...]
    lied: tuple[int, ...] | None  # some of `slots`; None: something is wrong, who cannot be told


@dataclass(frozen=True, slots=True)
class Doubted:
    """The results of these responders were looked at, as `Doubt` asked."""

    slots: tuple[int, ...]
    slot: int | None  # its result is set aside until another worker gives it; None: of nobody


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Replied | Lost | Judged | Doubted | Tick


@dataclass(frozen=True, slots=True)
class Send:
    """Send this slot; attempt 0 is the first, resends and hedges count up."""

    slot: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """All sends of these slots that are still out have become pointless."""

    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """Find the wrong ones among all responders' results and tell by `Judged`; the last command."""

    slots: tuple[int, ...]  # ascending
    most: int  # that may be found
    sure: tuple[int, ...] = ()  # of `slots`: another worker was asked, too


@dataclass(frozen=True, slots=True)
class Doubt:
    """Tell by `Doubted` whose result seems to be wrong, with much less to go by than `Judge` asks
    for; the last command."""

    slots: tuple[int, ...]  # ascending
    settled: tuple[int, ...]  # of `slots`: they were asked for again, or cannot be


@dataclass(frozen=True, slots=True)
class Recall:
    """No other worker gave the result of this slot in time: that which was set aside counts."""

    slot: int


@dataclass(frozen=True, slots=True)
class Answer:
    """These answers can be had now: direct from one own slot, or decoded from all responders."""

    answers: tuple[int, ...]
    slots: tuple[int, ...]  # ascending; exactly the own slot when direct
    direct: bool


@dataclass(frozen=True, slots=True)
class Fail:
    """These answers cannot be had any more."""

    answers: tuple[int, ...]
    responders: tuple[int, ...]
    reason: str


Command = Send | Cancel | Judge | Doubt | Recall | Answer | Fail
