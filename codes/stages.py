"""A stem before a code: the first layers of a model, run on every query before it is coded.

The stem is not part of the code, which mixes whatever it is given. Slots of the base role run the
whole model and are sent the queries as they came. One function for training, calibration and
serving.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from codes.base import BASE, Code

STEM = "stem"  # what the stem is called among the programs of a trained code

Stem = Callable[[Tensor], Tensor]  # [b, *query] to [b, *features]


def stemmed(stem: Stem, queries: Tensor) -> Tensor:
    """[g, k, *query] through a stem: [g, k, *features]."""
    features = stem(queries.flatten(0, 1))
    return features.view(*queries.shape[:2], *features.shape[1:])


def shards_of(
    code: Code, queries: Tensor, stem: Stem | None = None, pads: Tensor | None = None
) -> list[Tensor]:
    """What each slot is sent, [g, *shard].

    Args:
        code: over the stem's features.
        queries: [g, k, *query].
        stem: None: the queries themselves are coded.
        pads: as `encode` takes them; codes behind a stem have none.
    """
    if stem is None:
        return code.encode(queries, pads)
    shards = code.encode(stemmed(stem, queries))
    for j, slots in enumerate(code.own_slots):
        for slot in slots:
            shards[slot] = queries[:, j].contiguous()
    return shards


def mixed(features: Tensor, coefficients: Tensor) -> Tensor:
    """A worker's own mix of the features of a group.

    Args:
        features: [g, k, *features].
        coefficients: [g, k], its row of the generator matrix.

    Returns:
        [g, *features].
    """
    flat = torch.einsum("gk,gkf->gf", coefficients, features.flatten(2))
    return flat.view(features.shape[0], *features.shape[2:])


def is_coded(code: Code, slot: int) -> bool:
    """Whether a slot is sent a mix of features, not a query."""
    return code.roles[slot] != BASE
