"""RegMean: each linear layer and convolution as the least-squares fit of its parents' outputs.

W = (sum_i b_i G_i)^-1 sum_i b_i G_i W_i, with G_i the second moments of what enters the layer in
model i, the bias's 1 with it. All other parameters are averaged.
Source: X. Jin et al., "Dataless knowledge fusion by merging weights of language models", 2023.
Deviates: convolutions; biases in the fit; a ridge towards the average.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from training.merging.parents import Parents, State
from training.merging.sums import average

SHRINK = 0.9  # of what is not on the diagonal of G, as published
# Of G's mean diagonal, towards the average: entries that are always 0 leave G singular.
RIDGE = 1e-6
AT_ONCE = 64

Layer = nn.Linear | nn.Conv2d


def regmean(parents: Parents, inputs: Tensor, weights: Sequence[float]) -> State:
    """The merged parameters.

    Args:
        parents: the models.
        inputs: [m, ...], without labels.
        weights: b, above 0, sum 1.
    """
    found = average(parents.thetas(), weights)
    layers = [_fitted(module) for module in parents.modules]
    moments = [_moments(m, own, inputs) for m, own in zip(parents.modules, layers, strict=True)]
    for name, layer in layers[0].items():
        below = torch.stack([w * m[name] for w, m in zip(weights, moments, strict=True)])
        parts = torch.stack([_matrix(own[name]) for own in layers])
        pull = RIDGE * below.sum(0).diagonal().mean() + torch.finfo(below.dtype).tiny
        plain = torch.einsum("k,kxy->xy", torch.tensor(weights, dtype=below.dtype), parts)
        total = below.sum(0) + pull * torch.eye(below.shape[1], dtype=below.dtype)
        solved = torch.linalg.solve(total, (below @ parts).sum(0) + pull * plain).float()
        if layer.bias is not None:
            found[f"{name}.bias"], solved = solved[-1], solved[:-1]
        found[f"{name}.weight"] = solved.T.reshape(layer.weight.shape)
    return found


def _fitted(module: nn.Module) -> dict[str, Layer]:
    """The layers that are fitted: plain ones, whose weights no other layer shares."""
    names: dict[int, int] = {}
    for _, value in module.named_parameters(remove_duplicate=False):
        names[id(value)] = names.get(id(value), 0) + 1
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, Layer) and _is_plain(layer) and names[id(layer.weight)] == 1
    }


def _is_plain(layer: Layer) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros" and layer.padding != "same"
    return True


def _moments(module: nn.Module, layers: dict[str, Layer], inputs: Tensor) -> dict[str, Tensor]:
    """G of each layer that the inputs come through, float64 [entries, entries]; else of zeros."""
    sums = {
        name: torch.zeros(2 * (len(_matrix(layer)),), dtype=torch.float64)
        for name, layer in layers.items()
    }

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, taken: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, Layer)
            rows = _rows(layer, taken[0]).double()
            sums[name] += rows.T @ rows

        return hook

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            for piece in torch.split(inputs, AT_ONCE):
                module(piece)
    finally:
        for hook in hooks:
            hook.remove()
    for gram in sums.values():
        diagonal = gram.diagonal().clone()
        gram.mul_(SHRINK).diagonal().copy_(diagonal)
    return sums


def _rows(layer: Layer, taken: Tensor) -> Tensor:
    """What enters the layer, as rows that its matrix is multiplied with."""
    if isinstance(layer, nn.Conv2d):
        assert not isinstance(layer.padding, str) or layer.padding == "valid"
        padding = 0 if isinstance(layer.padding, str) else layer.padding
        patches = unfold(taken, layer.kernel_size, layer.dilation, padding, layer.stride)
        rows = patches.transpose(1, 2).flatten(0, 1)
    else:
        rows = taken.flatten(0, -2)
    return rows if layer.bias is None else torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def _matrix(layer: Layer) -> Tensor:
    """Its weights and bias, float64 [entries, outputs]."""
    matrix = layer.weight.detach().flatten(1).T
    if layer.bias is not None:
        matrix = torch.cat([matrix, layer.bias.detach()[None]])
    return matrix.double()
