"""Coded weights under torch: a layer in `nn.Linear`'s place, an optimiser, and clipping.

An ordinary training loop stays as it is, but for the optimiser:

    model = encoded(model, nodes, spread(nodes.count, blocks_m=4))
    optimiser = CodedSGD(model, lr=0.1, momentum=0.9)
    for images, labels in batches:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        clip_grad_norm_(model, 1.0)
        optimiser.step()

A coded layer's gradient is never formed: its two factors are kept from the backward pass until the
optimiser's step hands them to the nodes. Biases are plain parameters.
"""

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from training.coded.nodes import Nodes, Rule
from training.coded.scheme import Scheme
from training.coded.weight import CodedWeight, Policy, Report

Factors = tuple[Tensor, Tensor]  # of a gradient: signal [out, batch] and activation [in, batch]


class CodedLinear(nn.Module):
    """`nn.Linear` whose weight lives encoded on nodes.

    Args:
        weight: the coded weight, placed already.
        bias: [out], trained as any other parameter; None is none.

    Attributes:
        weight: as given. It is no parameter: `CodedSGD` steps it.
        pending: the factors of gradients that no step has used yet.
    """

    def __init__(self, weight: CodedWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.pending: list[Factors] = []

    @classmethod
    def of(
        cls,
        linear: nn.Linear,
        name: str,
        scheme: Scheme,
        nodes: Nodes,
        policy: Policy | None = None,
        report: Report | None = None,
    ) -> "CodedLinear":
        """The coded kin of a layer: same weight, same bias; the layer itself is left alone."""
        weight = CodedWeight(name, scheme, nodes, policy or Policy(), report or Report())
        weight.place(linear.weight.detach().cpu().numpy())
        return cls(weight, linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in] to [..., out]. Raises StateLost, as does the backward pass."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        # Has autograd call `backward` for a layer whose inputs need no gradient, too.
        anchor = torch.zeros(0, requires_grad=torch.is_grad_enabled())
        outputs: Tensor = _Product.apply(rows, anchor, self)  # type: ignore[no-untyped-call]
        outputs = outputs.reshape(*inputs.shape[:-1], -1)
        return outputs if self.bias is None else outputs + self.bias

    def factors(self) -> Factors | None:
        """Of the gradient of all backward passes since the last step; None where there was none."""
        if not self.pending:
            return None
        signals, activations = zip(*self.pending, strict=True)
        return torch.cat(signals, 1), torch.cat(activations, 1)

    def extra_repr(self) -> str:
        """Shape, as `nn.Linear` has it, and where the weight is."""
        scheme = self.weight.scheme
        return (
            f"in_features={scheme.columns}, out_features={scheme.rows}, "
            f"bias={self.bias is not None}, nodes={scheme.count}"
        )


class _Product(torch.autograd.Function):
    """[batch, in] to [batch, out]; keeps a gradient's factors in the layer on its way back."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor, anchor: Tensor,
                layer: CodedLinear) -> Tensor:  # fmt: skip
        ctx.layer, ctx.rows = layer, rows  # type: ignore[attr-defined]
        return _through(layer.weight.forward, rows)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor | None, None, None]:
        layer: CodedLinear = ctx.layer  # type: ignore[attr-defined]
        rows: Tensor = ctx.rows  # type: ignore[attr-defined]
        (signal,) = gradients
        layer.pending.append((signal.detach().T, rows.detach().T))
        wanted: tuple[bool, ...] = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (_through(layer.weight.backward, signal) if wanted[0] else None), None, None


class CodedSGD(torch.optim.SGD):
    """`torch.optim.SGD` for a model with coded layers: their weights, and all plain parameters.

    Learning-rate schedules work as ever. What is not linear in the gradient cannot be done on coded
    weights: Adam and its kin, clipping by value, dampening.

    Args:
        model: whose parameters are trained; it must have a plain one, such as a bias.
        lr, momentum, weight_decay: as of SGD; biases decay, too.
    """

    def __init__(
        self, model: nn.Module, lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
        self._layers = list(coded_layers(model))

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of all parameters. Raises StateLost."""
        super().step()
        group = self.param_groups[0]
        for layer in self._layers:
            factors = layer.factors()
            if factors is not None:
                signal, activation = (factor.cpu().numpy() for factor in factors)
                rule = Rule(float(group["lr"]), group["momentum"], group["weight_decay"])
                layer.weight.update(activation, signal, rule)
            layer.pending.clear()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        for layer in self._layers:
            layer.pending.clear()


def clip_grad_norm_(model: nn.Module, max_norm: float) -> Tensor:
    """`torch.nn.utils.clip_grad_norm_` over plain and coded gradients together.

    The norm of a coded gradient D X^T is the root of the sum of (D^T D) * (X^T X), entry by entry:
    two small matrices of the batch, so that the gradient need not be formed.

    Returns:
        The norm before.
    """
    grads = [value.grad for value in model.parameters() if value.grad is not None]
    squares = [grad.square().sum() for grad in grads]
    layers = [(layer, layer.factors()) for layer in coded_layers(model)]
    for _, factors in layers:
        if factors is not None:
            signal, activation = factors
            squares.append(((signal.T @ signal) * (activation.T @ activation)).sum())
    norm = torch.stack(squares).sum().clamp(min=0).sqrt() if squares else torch.zeros(())
    scale = min(1.0, max_norm / (float(norm) + 1e-6))
    for grad in grads:
        grad.mul_(scale)
    for layer, factors in layers:
        if factors is not None:
            layer.pending = [(factors[0] * scale, factors[1])]
    return norm


def coded_layers(model: nn.Module) -> Iterator[CodedLinear]:
    """The coded layers of a model, in its order."""
    return (module for module in model.modules() if isinstance(module, CodedLinear))


def encoded(
    model: nn.Module,
    nodes: Nodes,
    scheme_of: Callable[[int, int, np.dtype[np.generic]], Scheme],
    policy: Policy | None = None,
    report: Report | None = None,
) -> nn.Module:
    """A copy of a model with a coded layer in every `nn.Linear`'s place.

    Args:
        model: left as it is.
        nodes: that hold the weights, by the layers' names in the model.
        scheme_of: a scheme for a weight of so many rows and columns, and its type.
        policy, report: shared by all weights.
    """
    model, shared = copy.deepcopy(model), report or Report()
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        dtype = module.weight.detach().cpu().numpy().dtype
        scheme = scheme_of(module.out_features, module.in_features, dtype)
        layer = CodedLinear.of(module, name or "weight", scheme, nodes, policy, shared)
        model = _replaced(model, name, layer)
    return model


def decoded(model: nn.Module) -> nn.Module:
    """A copy of a model with a plain `nn.Linear` in every coded layer's place."""
    layers: dict[int, object] = {id(layer): layer for layer in coded_layers(model)}
    # What lives on nodes is not copied: the copy's layers are put in place of the same ones.
    model = copy.deepcopy(model, dict(layers))
    for name, module in list(model.named_modules()):
        if isinstance(module, CodedLinear):
            model = _replaced(model, name, _plain(module))
    return model


def _plain(layer: CodedLinear) -> nn.Linear:
    weight = torch.from_numpy(layer.weight.decoded())
    linear = nn.Linear(weight.shape[1], weight.shape[0], layer.bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
        if layer.bias is not None:
            linear.bias.copy_(layer.bias)
    return linear


def _replaced(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """The model with another module at this place; at the empty name it is the model."""
    if not name:
        return module
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
    return model


def _through(function: Callable[[np.ndarray], np.ndarray], rows: Tensor) -> Tensor:
    """A function of columns, applied to rows; tensors stay on their device."""
    values = function(np.ascontiguousarray(rows.detach().cpu().numpy().T))
    return torch.from_numpy(np.ascontiguousarray(values.T)).to(rows.device)
