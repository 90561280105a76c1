"""Merges models of one architecture and one start into coded models, for the code `coin`."""

from training.merging.building import Coded, merge
from training.merging.parents import NotMergeable, Parents, parents_of
from training.merging.plan import METHODS, Inputs, MergePlan, mixed

__all__ = [
    "METHODS",
    "Coded",
    "Inputs",
    "MergePlan",
    "NotMergeable",
    "Parents",
    "merge",
    "mixed",
    "parents_of",
]
