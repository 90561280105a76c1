"""Coded products of matrices over workers that are slow, die and lie: Generalized PolyDot, live.

`PolyDot` multiplies; `MatrixWorker` is one worker's service of matrices, and `gathered` the rule by
which answers of many are waited for. The mathematics is `codes.polydot`.
"""

from kofn.matrices.engine import Progress, Report, Wish
from kofn.matrices.gathering import Gathered, gathered
from kofn.matrices.polydot import Multiplied, PolyDot
from kofn.matrices.worker import Answer, Held, MatrixWorker

__all__ = [
    "Answer",
    "Gathered",
    "Held",
    "MatrixWorker",
    "Multiplied",
    "PolyDot",
    "Progress",
    "Report",
    "Wish",
    "gathered",
]
