"""Generalized PolyDot: coded products of matrices, and layers whose weights stay coded.

`Product` codes C = A B, `Layer` a weight; both tell by `Frame` what of all nodes' results is
enough, who lies, what comes out and how wrong that may be. Pure NumPy: knows no worker.
"""

from codes.base import NotRecoverable
from codes.locating import TooManyErrors
from codes.polydot.frame import Decoded, Frame, Inaccurate, Limits
from codes.polydot.layer import Layer
from codes.polydot.product import Noise, Product, energies, noise_of, product_noise, worst
from codes.polydot.served import LinearLayers

__all__ = [
    "Decoded",
    "Frame",
    "Inaccurate",
    "Layer",
    "Limits",
    "LinearLayers",
    "Noise",
    "NotRecoverable",
    "Product",
    "TooManyErrors",
    "energies",
    "noise_of",
    "product_noise",
    "worst",
]
