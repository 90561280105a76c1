"""Coded training over a cluster's workers, from Python.

`connected` gives the workers as nodes; `encoded` puts coded layers in a model's linear ones' place,
`CodedSGD` steps them, `decoded` gives the model back. The rest is `training.coded`.
"""

from kofn.coded.workers import WorkerNodes, connected
from training.coded import (
    CodedLinear,
    CodedSGD,
    Policy,
    Report,
    StateLost,
    clip_grad_norm_,
    decoded,
    encoded,
    spread,
)

__all__ = [
    "CodedLinear",
    "CodedSGD",
    "Policy",
    "Report",
    "StateLost",
    "WorkerNodes",
    "clip_grad_norm_",
    "connected",
    "decoded",
    "encoded",
    "spread",
]
