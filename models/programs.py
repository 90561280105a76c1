"""Programs: a network as an exported graph, which a worker can run without the network's source.

`export_program` writes one, `load_program` vets, hashes, loads and places it on a device, and a
`Program` is called with tensors. Names of inputs and outputs are the Open Inference ones.
Does not fetch or keep archives (`models/store.py`) and does not train.
In the query's way: the worker's device thread calls a `Program` with one shard's tensors.
"""

import contextlib
import copy
import io
import json
import threading
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from models.archive import (
    DATATYPES,
    DEFAULT_LIMITS,
    GRAPH,
    Contents,
    Limits,
    content_hash,
    hash_contents,
    open_archive,
    pack,
)
from models.refusals import HashMismatch, ProgramRefused

__all__ = [
    "HashMismatch",
    "Limits",
    "Program",
    "ProgramRefused",
    "TensorSpec",
    "content_hash",
    "export_program",
    "load_program",
]

TORCH_DTYPES = {
    "BF16": torch.bfloat16,
    "BOOL": torch.bool,
    "FP16": torch.float16,
    "FP32": torch.float32,
    "FP64": torch.float64,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
}
TRACED_BATCH = 2  # the same for every export, whatever the example: sizes appear in the graph
# torch's reader and tracer keep their state in module globals: one at a time in a process.
_TORCH_EXPORT = threading.Lock()


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a program, without its batch dimension, which comes first."""

    name: str
    datatype: str  # Open Inference: "FP32", "INT64", ...
    shape: tuple[int, ...]


class Program:
    """A loaded program: tensors in, tensors out. It holds weights and no other state.

    Attributes:
        hash: its content hash, 64 hex digits.
        inputs: what it takes; a single input is named "input".
        outputs: what it gives; a single output is named "logits".
        device: where its weights are.
    """

    def __init__(
        self,
        hash: str,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        device: torch.device,
        run: nn.Module,
    ) -> None:
        self.hash = hash
        self.inputs = inputs
        self.outputs = outputs
        self.device = device
        self._run = run  # an exported graph's module: never written to after construction

    @property
    def graph(self) -> torch.fx.GraphModule:
        """The exported graph with its weights, for whoever takes it apart; not to be changed."""
        assert isinstance(self._run, torch.fx.GraphModule)
        return self._run

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run a batch.

        Args:
            inputs: one tensor [b, *shape] for each of `self.inputs`, b >= 1, on any device.

        Returns:
            One tensor [b, *shape] for each of `self.outputs`, on the program's device.

        Raises:
            ValueError: another number of tensors, shape, datatype or batch.
        """
        self._check(inputs)
        with torch.inference_mode():
            outputs = self._run(*(tensor.to(self.device) for tensor in inputs))
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)

    def __repr__(self) -> str:
        return f"Program({self.hash[:12]}, {self.inputs} -> {self.outputs}, {self.device})"

    def _check(self, inputs: Sequence[Tensor]) -> None:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"The program takes {len(self.inputs)} tensors, not {len(inputs)}.")
        for tensor, spec in zip(inputs, self.inputs, strict=True):
            if tensor.dtype != TORCH_DTYPES[spec.datatype]:
                raise ValueError(
                    f"Tensor {spec.name!r} must have datatype {spec.datatype}, not {tensor.dtype}."
                )
            batch = len(inputs[0]) if inputs[0].ndim else 0
            if batch < 1 or tuple(tensor.shape) != (batch, *spec.shape):
                raise ValueError(
                    f"Tensor {spec.name!r} must have shape {('b', *spec.shape)} with one b >= 1 "
                    f"for all inputs, not {tuple(tensor.shape)}."
                )


def export_program(module: nn.Module, example: Tensor | Sequence[Tensor]) -> bytes:
    """Write a network as an archive that `load_program` takes.

    Args:
        module: takes tensors [b, ...] and gives a tensor or tuple of tensors [b, ...]. It is
            exported as it behaves in evaluation, from a copy on the CPU, and left unchanged.
        example: one tensor [b, ...] for each input, b >= 1; only shapes and dtypes matter.

    Returns:
        The archive: the same bytes for the same graph and weights.

    Raises:
        ProgramRefused: the graph does something that a program must not.
        torch's own errors: the module cannot be exported with a free batch dimension.
    """
    examples = [example] if isinstance(example, Tensor) else list(example)
    traced = tuple(
        torch.zeros((TRACED_BATCH, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in examples
    )
    shapes = ({0: torch.export.Dim("b", min=1)},) * len(traced)
    with _TORCH_EXPORT, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's notes on its own export code
        exported = torch.export.export(_frozen(module), traced, dynamic_shapes=shapes)
        if any(_is_mutable(node) for node in exported.graph.nodes):
            exported = exported.run_decompositions({})  # as pure functions; nothing else changes
        buffer = io.BytesIO()
        torch.export.save(exported, buffer)
    return pack(open_archive(_without_guards(buffer.getvalue())))


def import_loader() -> None:
    """Import what a first `load_program` would wait a second for. Any thread may call this."""
    with contextlib.suppress(ImportError):  # not torch's promise: then the first load does it
        import torch._export.serde.serialize  # noqa: F401


def load_program(
    archive: bytes,
    device: str | torch.device = "cpu",
    expect_hash: str | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Program:
    """Vet an archive, then load it onto a device. Blocks: call it off the event loop.

    Any thread may call this; loads take turns.

    Args:
        archive: the bytes that `export_program` gave, from anybody.
        device: "cpu", "cuda", "cuda:1", ...
        expect_hash: the content hash that the archive must have.
        limits: the largest archive taken.

    Raises:
        ProgramRefused: it is not a plain program, or could run code while loading.
        HashMismatch: it is another program. Both come before torch has read the archive.
    """
    contents = open_archive(archive, limits)
    actual = hash_contents(contents)
    if expect_hash is not None and actual != expect_hash:
        raise HashMismatch(expect_hash, actual)
    inputs, outputs = _specs(contents)
    place = torch.device(device)
    try:
        run = _module(pack(contents), place)
    except Exception as error:  # torch raises anything on a graph that makes no sense
        raise ProgramRefused(f"torch cannot load the program: {error!r}") from error
    return Program(actual, inputs, outputs, place, run)


def _module(archive: bytes, device: torch.device) -> nn.Module:
    with _TORCH_EXPORT, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.load(io.BytesIO(archive))
        if device.type != "cpu":
            exported = move_to_device_pass(exported, device)
        # No guards: they would be compiled from text. `Program` checks shapes itself: torch's own
        # check took a third of a small network's call.
        run: Any = exported.module(check_guards=False)
    run.validate_inputs = False
    module: nn.Module = run
    return module


def _frozen(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the CPU, its tensors contiguous: one canonical form."""
    frozen = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    for tensor in (*frozen.parameters(), *frozen.buffers()):
        tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)
    return frozen


def _is_mutable(node: torch.fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _without_guards(archive: bytes) -> bytes:
    """Guards repeat what the free batch dimension and `Program` check; as code they are refused."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith(GRAPH):
                data = json.dumps({**json.loads(data), "guards_code": []}).encode()
            new.writestr(entry, data)
    return buffer.getvalue()


def _specs(contents: Contents) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Names, datatypes and shapes of inputs and outputs, read from the vetted graph."""
    graph = contents.graph["graph_module"]
    taken = [
        spec["user_input"]["arg"]["as_tensor"]["name"]
        for spec in graph["signature"]["input_specs"]
        if "user_input" in spec
    ]
    given = [
        spec["user_output"]["arg"]["as_tensor"]["name"]
        for spec in graph["signature"]["output_specs"]
    ]
    input_names = ["input"] if len(taken) == 1 else taken
    output_names = ["logits"] if len(given) == 1 else [f"output_{i}" for i in range(len(given))]
    values = graph["graph"]["tensor_values"]
    try:
        batch = values[taken[0]]["sizes"][0]["as_expr"]["expr_str"]
        (bounds,) = contents.graph["range_constraints"].values()
        if bounds["min_val"] > 1 or bounds["max_val"] is not None:
            raise ValueError(f"the batch dimension is bound to {bounds}")
        return (
            tuple(_spec(*pair, values, batch) for pair in zip(input_names, taken, strict=True)),
            tuple(_spec(*pair, values, batch) for pair in zip(output_names, given, strict=True)),
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ProgramRefused(
            f"Every input and output must start with one free batch dimension: {error!r}"
        ) from error


def _spec(name: str, node: str, values: Any, batch: str) -> TensorSpec:
    meta = values[node]
    first, *rest = meta["sizes"]
    if first["as_expr"]["expr_str"] != batch:
        raise ValueError(f"{name} starts with another dimension")
    return TensorSpec(name, DATATYPES[meta["dtype"]][0], tuple(size["as_int"] for size in rest))
