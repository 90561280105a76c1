"""What a row of the table of coded products says."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One row of the table.

    Attributes:
        setting, measured: in words.
        bars: in words, and whether they are met.
        facts: what the words are made from.
    """

    setting: str
    measured: str
    bars: dict[str, bool]
    facts: dict[str, Any]
