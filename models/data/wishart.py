"""Wishart matrices as a data set: drawn, not read; with the values of a function as targets."""

from dataclasses import replace

import torch

from models.data.dataset import DataSet, Split, divided
from models.functions import MatrixFunction, Target, wishart

COUNT = 25_000  # of which a fifth is for testing
SEED = 4  # of the draw; the same matrices for every function


def matrices(target: Target, split: Split) -> DataSet:
    """Matrices [m, 1, d, d] without labels, and the function's values in standard units."""
    drawn = wishart(COUNT, target.size, torch.Generator().manual_seed(SEED))
    title = f"Wishart {target.size}x{target.size}, {target.function}"
    unlabelled = torch.empty(0, dtype=torch.int64)
    part = divided(DataSet(target.name, title, "", drawn, unlabelled, ()), split)
    return replace(part, targets=MatrixFunction(target)(part.images))
