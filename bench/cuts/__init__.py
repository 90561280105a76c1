"""The table of cuts: what a stem costs, and what answers are worth behind it."""

from bench.cuts.worth import CutWorth, cuts_of

__all__ = ["CutWorth", "cuts_of"]
