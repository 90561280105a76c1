"""Ensembles: what the mean of all members is worth with one of them lost."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.coin.measuring import Asked
from codes.coin import Coin
from training.measure import answers_of
from training.merging.report import decoded


def ensemble(asked: Asked, coded: Sequence[nn.Module], code: Coin) -> dict[str, Any]:
    """Figures of a mean over members, all of one task.

    Returns:
        members, whole: accuracy of one member, and of the mean of all. Then accuracy, and share of
        answers that are the whole ensemble's: of the mean of those that are left (`dropped`), of
        the first coded model alone, and of the mean with the lost member decoded.
    """
    truth, labels = asked.truths[0], asked.tasks[0].test.labels
    outputs = asked.outputs(coded)[0]
    whole = truth.mean(1).argmax(1)
    left, made = [], []
    for j in range(code.k):
        rest = truth[:, [i for i in range(code.k) if i != j]]
        left.append(rest.mean(1).argmax(1))
        found = decoded(code, outputs, [j])
        made.append(torch.cat([rest, found], 1).mean(1).argmax(1))
    alone = answers_of(coded[0], asked.tasks[0].test.images).argmax(1)

    def worth(found: Sequence[Tensor]) -> tuple[float, float]:
        right = [float((one == labels).float().mean()) for one in found]
        same = [float((one == whole).float().mean()) for one in found]
        return round(sum(right) / len(right), 5), round(sum(same) / len(same), 5)

    return {
        "decoder": "mean",
        "members": worth([truth[:, j].argmax(1) for j in range(code.k)])[0],
        "whole": worth([whole])[0],
        "dropped": worth(left),
        "alone": worth([alone]),
        "decoded": worth(made),
    }
