"""A model taken apart: its linear layers, which are coded, and what comes before and between."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from codes.polydot import Layer, energies
from kofn.wire.errors import InvalidArgument
from models.programs import Program

Array = npt.NDArray[Any]

LINEAR = torch.ops.aten.linear.default
Values = dict[Any, Any]  # of nodes of the graph


@dataclass(frozen=True, eq=False)
class CodedWeight:
    """A linear layer whose weight is coded.

    Attributes:
        layer: its code.
        weight: [outputs, inputs], float32.
    """

    layer: Layer
    weight: Array

    @cached_property
    def _blocks(self) -> Array:
        return self.layer.split_weight(self.weight)

    def share(self, node: int) -> Array:
        """What a node holds, [ceil(outputs / m), inputs]."""
        return self.layer.weight_share(self._blocks, node)

    @cached_property
    def energies(self) -> Array:
        """[nodes, inputs]: of the shares' columns, which rounding is estimated from."""
        return np.stack([energies(self.share(node), 0) for node in range(self.layer.nodes)])


@dataclass(frozen=True, eq=False)
class Product:
    """A step that is for the workers: a coded weight times a value."""

    node: fx.Node
    number: int  # of the layer
    weight: CodedWeight


Step = Product | tuple[fx.Node, ...]  # or nodes that are computed here


class Network:
    """A model's graph in steps.

    Args:
        program: the model, on the CPU.
        layer: the code of its linear layers.

    Raises:
        InvalidArgument: it has no linear layer, or one that is not float32.
    """

    def __init__(self, program: Program, layer: Layer) -> None:
        graph = program.graph
        self._module = graph
        self.steps: list[Step] = []
        self.weights: list[CodedWeight] = []
        here: list[fx.Node] = []
        for node in graph.graph.nodes:
            if node.op == "call_function" and node.target is LINEAR:
                if here:
                    self.steps.append(tuple(here))
                    here = []
                weight = self._constant(node.args[1]).numpy()
                if weight.dtype != np.float32:
                    raise InvalidArgument(
                        f"the model's linear layers must be float32 for the code polydot, "
                        f"not {weight.dtype}."
                    )
                coded = CodedWeight(layer, weight)
                self.steps.append(Product(node, len(self.weights), coded))
                self.weights.append(coded)
            else:
                here.append(node)
        if not self.weights:
            raise InvalidArgument("the model must have a linear layer for the code polydot.")
        self.steps.append(tuple(here))

    def compute(self, nodes: tuple[fx.Node, ...], values: Values, rows: Tensor) -> None:
        """Compute some nodes here. Blocks: call it off the event loop."""
        with torch.inference_mode():
            for node in nodes:
                match node.op:
                    case "placeholder":
                        values[node] = rows
                    case "get_attr":
                        values[node] = self._constant(node)
                    case "output":
                        values[node] = fx.node.map_arg(node.args[0], values.__getitem__)
                    case _:
                        arguments = fx.node.map_arg(node.args, values.__getitem__)
                        named = fx.node.map_arg(node.kwargs, values.__getitem__)
                        operation: Any = node.target
                        values[node] = operation(*arguments, **named)

    def operand(self, product: Product, values: Values) -> Array:
        """What a coded weight is multiplied by, [inputs, columns]."""
        given: Tensor = values[product.node.args[0]]
        return np.ascontiguousarray(given.detach().reshape(-1, given.shape[-1]).numpy().T)

    def finish(self, product: Product, made: Array, values: Values) -> None:
        """Put a product [outputs, columns] where the model goes on with it, its bias added."""
        given: Tensor = values[product.node.args[0]]
        result = torch.from_numpy(made.T.copy()).reshape(*given.shape[:-1], made.shape[0])
        bias = product.node.args[2] if len(product.node.args) > 2 else None
        values[product.node] = result if bias is None else result + values[bias]

    def answer(self, values: Values) -> Array:
        """What the model gives, [rows, *answer]."""
        (output,) = [value for node, value in values.items() if node.op == "output"]
        tensor: Tensor = output[0] if isinstance(output, tuple | list) else output
        return tensor.numpy()

    def _constant(self, node: fx.Node) -> Tensor:
        found: Any = self._module
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return found.detach() if isinstance(found, Tensor) else found
