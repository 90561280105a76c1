"""What coded models are worth, measured without labels on inputs that were held back."""

from collections.abc import Sequence
from itertools import combinations, islice
from typing import Any

import torch
from torch import Tensor

from codes.coin import OUTPUTS, Coin
from codes.neural import Weights
from models.cards import Metric, proportion
from training.merging.plan import Rows

MOST_SETS = 50  # of lost slots, of a size


def targets_of(truth: Tensor, rows: Rows) -> Tensor:
    """What ideal coded models return.

    Args:
        truth: the models' outputs, [m, models, *answer].
        rows: weights, r of them.

    Returns:
        [m, r, *answer].
    """
    return torch.einsum("rk,mk...->mr...", torch.tensor(rows, dtype=truth.dtype), truth)


def relative_loss(coded: Tensor, target: Tensor) -> float:
    """Squared error as a share of the target's variance; [m, *answer] each."""
    spread = float((target - target.mean(0)).square().sum())
    return float((coded - target).square().sum()) / max(spread, 1e-12)


def squared_errors(coded: Tensor, target: Tensor) -> Tensor:
    """Of each input, over all entries of the answer: [m]; [m, *answer] each."""
    return (coded - target).flatten(1).square().sum(1)


def coin_of(rows: Rows, decoding: str, outputs: Tensor) -> Coin:
    """The code of some coded models.

    Args:
        rows: weights.
        decoding: fixed or fitted.
        outputs: of all n programs, [m, n, *answer]: what is fitted to.
    """
    models = len(rows[0])
    return Coin(
        k=models,
        n=models + len(rows),
        weights=rows,
        decoding=decoding,
        outputs=Weights({OUTPUTS: outputs}),
    )


def decoded(code: Coin, outputs: Tensor, lost: Sequence[int]) -> Tensor:
    """Answers of the lost slots below k, from all others: [m, lost models, *answer].

    Args:
        outputs: of all n programs, [m, n, *answer].
        lost: slots.
    """
    slots = [slot for slot in range(code.n) if slot not in lost]
    wanted = [slot for slot in lost if slot < code.k]
    return code.decode([outputs[:, slot].contiguous() for slot in slots], slots, wanted)


def decode_errors(rows: Rows, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """What the fixed decoder makes of the answers of lost models.

    Args:
        rows: weights.
        outputs: of all n programs, [m, n, *answer].

    Returns:
        For each set of up to r lost slots with a model among them, and each input, [sets, m]: the
        squared error over all lost models and entries, and the share of lost models whose top entry
        is another. NaN where outputs are not finite.
    """
    models, coded = len(rows[0]), len(rows)
    code = Coin(k=models, n=models + coded, weights=rows)
    sets = [
        lost
        for size in range(1, coded + 1)
        for lost in islice(combinations(range(code.n), size), MOST_SETS)
        if lost[0] < models
    ]
    if not torch.isfinite(outputs).all():
        nothing = torch.full((len(sets), len(outputs)), torch.nan)
        return nothing, nothing
    errors, misses = [], []
    for lost in sets:
        found = decoded(code, outputs, lost)
        truth = outputs[:, [slot for slot in lost if slot < models]]
        errors.append(squared_errors(found, truth))
        misses.append((found.flatten(2).argmax(2) != truth.flatten(2).argmax(2)).float().mean(1))
    return torch.stack(errors), torch.stack(misses)


def report(
    rows: Rows, decoding: str, build: Tensor, held: Tensor
) -> tuple[dict[str, Any], dict[str, Metric]]:
    """Figures of coded models, and their label-free agreement.

    Args:
        rows: weights.
        decoding: fixed or fitted.
        build: outputs of all n programs on inputs to fit by, [m, n, *answer].
        held: the same on inputs that were held back.

    Returns:
        coding_loss: of each coded model, the mean of ||f_c - sum_j b_j f_j||^2;
        relative_loss: as a share of the variance of what it stands for;
        predicted_error: of each coded model and lost model j, coding_loss / b_j^2;
        decode_error: of each model if it alone is lost, the squared error of its decoded outputs
            as a share of their variance, with the decoder as it is saved; and, by its name,
            agreement: the share of inputs on which they have the model's own top entry, in all
            ("agreement", of the worst model) and for each ("agreement_0", ...).
    """
    models = len(rows[0])
    truth = held[:, :models]
    targets = targets_of(truth, rows)
    losses = [
        float(squared_errors(held[:, models + i], targets[:, i]).mean()) for i in range(len(rows))
    ]
    code = coin_of(rows, decoding, build)
    agreements: list[Metric] = []
    errors: list[float] = []
    for j in range(models):
        found = decoded(code, held, [j])[:, 0]
        same = found.flatten(1).argmax(1) == truth[:, j].flatten(1).argmax(1)
        agreements.append(proportion(int(same.sum()), len(same)))
        errors.append(relative_loss(found, truth[:, j]))
    figures = {
        "coding_loss": losses,
        "relative_loss": [
            relative_loss(held[:, models + i], targets[:, i]) for i in range(len(rows))
        ],
        "predicted_error": [
            [loss / weight**2 if weight else None for weight in row]
            for loss, row in zip(losses, rows, strict=True)
        ],
        "decode_error": errors,
        "held": len(held),
    }
    metrics = {f"agreement_{j}": metric for j, metric in enumerate(agreements)}
    return figures, {"agreement": min(agreements, key=lambda one: one.value), **metrics}
