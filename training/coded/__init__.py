"""Coded training: weights that live encoded on nodes, and are never decoded between steps.

`CodedWeight` decides for one weight what is sent, retried, repaired and rolled back; `Nodes` is all
that it knows of where the blocks live; `CodedLinear` and `CodedSGD` put it under torch. Pure: no
wire, no clock, no files.
"""

from training.coded.linear import CodedLinear, CodedSGD, clip_grad_norm_, decoded, encoded
from training.coded.local import LocalNodes, Rates
from training.coded.nodes import Nodes, Rule
from training.coded.run import CodedRecipe, CodedTraining
from training.coded.scheme import spread
from training.coded.weight import CodedWeight, Policy, Report, StateLost

__all__ = [
    "CodedLinear",
    "CodedRecipe",
    "CodedSGD",
    "CodedTraining",
    "CodedWeight",
    "LocalNodes",
    "Nodes",
    "Policy",
    "Rates",
    "Report",
    "Rule",
    "StateLost",
    "clip_grad_norm_",
    "decoded",
    "encoded",
    "spread",
]
