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
    """What is for the workers: a coded weight times a value."""

    node: fx.Node
    number: int  # of the layer
    weight: CodedWeight


class Network:
    """A model's graph, taken apart at its products.

    Args:
        program: the model, on the CPU.
        layer: the code of its linear layers.

    Attributes:
        products: one a linear layer, in the order in which they are computed.

    Raises:
        InvalidArgument: it has no linear layer, or one that is not float32.
    """

    def __init__(self, program: Program, layer: Layer) -> None:
        self._module = program.graph
        self.products: list[Product] = []
        self._between: list[list[fx.Node]] = [[]]  # before the first product, ..., after the last
        for node in self._module.graph.nodes:
            if node.op == "call_function" and node.target is LINEAR:
                weight = self._constant(node.args[1]).numpy()
                if weight.dtype != np.float32:
                    raise InvalidArgument(
                        f"the model's linear layers must be float32 for the code polydot, "
                        f"not {weight.dtype}."
                    )
                coded = CodedWeight(layer, weight)
                _ = coded.energies  # takes a while: now, not when the first batch waits for it
                self.products.append(Product(node, len(self.products), coded))
                self._between.append([])
            else:
                self._between[-1].append(node)
        if not self.products:
            raise InvalidArgument("the model must have a linear layer for the code polydot.")

    def advance(self, number: int, given: Array, values: Values) -> Array:
        """Compute what comes before a product, or after the last one. Blocks: off the event loop.

        Args:
            number: of the product; that of the last one and 1: what comes after it.
            given: the batch's rows for the first, else the product before, [outputs, columns].
            values: of the nodes so far; filled in.

        Returns:
            What the coded weight is multiplied by, [inputs, columns]; in the end the model's
            answer, [rows, *answer].
        """
        with torch.inference_mode():
            if number:
                self._finish(self.products[number - 1], given, values)
            for node in self._between[number]:
                values[node] = self._computed(node, given, values)
            if number < len(self.products):
                asked: Tensor = values[self.products[number].node.args[0]]
                return np.ascontiguousarray(asked.reshape(-1, asked.shape[-1]).numpy().T)
            output = values[self._between[-1][-1]]
            tensor: Tensor = output[0] if isinstance(output, tuple | list) else output
            return tensor.numpy()

    def _computed(self, node: fx.Node, given: Array, values: Values) -> Any:
        match node.op:
            case "placeholder":
                return torch.from_numpy(np.ascontiguousarray(given))
            case "get_attr":
                return self._constant(node)
            case "output":
                return fx.node.map_arg(node.args[0], values.__getitem__)
            case _:
                arguments = fx.node.map_arg(node.args, values.__getitem__)
                named = fx.node.map_arg(node.kwargs, values.__getitem__)
                operation: Any = node.target
                return operation(*arguments, **named)

    def _finish(self, product: Product, made: Array, values: Values) -> None:
        """Put a product [outputs, columns] where the model goes on with it, its bias added."""
        asked: Tensor = values[product.node.args[0]]
        result = torch.from_numpy(made.T.copy()).reshape(*asked.shape[:-1], made.shape[0])
        bias = product.node.args[2] if len(product.node.args) > 2 else None
        values[product.node] = result if bias is None else result + values[bias]

    def _constant(self, node: fx.Node) -> Tensor:
        found: Any = self._module
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return found.detach() if isinstance(found, Tensor) else found
