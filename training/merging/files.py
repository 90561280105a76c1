"""Models and inputs of the user's own: weights in files, an architecture in a module of Python."""

import copy
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models import data
from models.cards import Card
from models.programs import content_hash, export_program
from training.base import versions
from training.merging.parents import NotMergeable, Parents, State

ARRAYS = ("images", "inputs", "x")


def built(arch: str) -> nn.Module:
    """What MODULE:FUNCTION returns; MODULE may be a file of the current folder.

    Raises:
        ValueError: no such module or function, or it returns no torch module.
    """
    name, colon, function = arch.partition(":")
    if not (name and colon and function):
        raise ValueError(f"Argument 'arch' must be MODULE:FUNCTION, not {arch!r}.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        make = getattr(import_module(name), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Argument 'arch' must name a function, not {arch!r}: {error}") from error
    module = make()
    if not isinstance(module, nn.Module):
        raise ValueError(f"{arch} must return a torch.nn.Module, not {type(module).__name__}.")
    return module


def weights_in(path: Path) -> State:
    """The tensors of a safetensors file.

    Raises:
        NotMergeable: it is none.
        OSError: it cannot be read.
    """
    try:
        state: State = load_file(path)
    except SafetensorError as error:
        raise NotMergeable(f"{path}: must be a safetensors file: {error}") from error
    return state


def as_stored(
    name: str, parents: Parents, place: int, arch: str, example: Tensor
) -> tuple[bytes, Card]:
    """A model of the user's own as a store takes it.

    Args:
        name: of the model.
        parents: it is one of them, at this place.
        arch: MODULE:FUNCTION.
        example: one input or more, [m, ...].
    """
    module = copy.deepcopy(parents.modules[place]).to(parents.dtype)
    example = example.to(parents.dtype) if example.is_floating_point() else example
    archive = export_program(module, example[:1])
    with torch.no_grad():
        entries = int(parents.modules[place](example[:1].float())[0].numel())
    card = Card(
        name=name,
        hash=content_hash(archive),
        dataset="",
        network=arch,
        input_shape=tuple(example.shape[1:]),
        classes=tuple(str(entry) for entry in range(entries)),
        versions=versions(),
    )
    return archive, card


def inputs_of(name: str, shape: Sequence[int] | None = None) -> Tensor:
    """Calibration inputs by name: what `models.data.load` takes, its images to learn from; or a
    .npz file with an array images, inputs or x, as it is, bytes scaled to 0..1.

    Args:
        name: of the data set or file.
        shape: of one input, if it is known.

    Raises:
        DataError: none, or of another shape.
    """
    path = Path(name)
    inputs = _array(path) if path.suffix == ".npz" else data.load(name, "learning").images
    if shape is not None and tuple(inputs.shape[1:]) != tuple(shape):
        if (1, *inputs.shape[1:]) == tuple(shape):
            return inputs[:, None]
        raise data.DataError(
            f"{name}: calibration inputs must be of shape {list(shape)}, as the models take them, "
            f"not {list(inputs.shape[1:])}."
        )
    return inputs


def check_taken(parents: Parents, inputs: Tensor) -> None:
    """Check that the models take such inputs, and give a row of numbers for each.

    Raises:
        NotMergeable: they do not; says the shape.
    """
    for name, module in zip(parents.names, parents.modules, strict=True):
        try:
            with torch.no_grad():
                outputs = module(inputs[:2])
        except Exception as error:
            raise NotMergeable(
                f"Model {name!r} does not take calibration inputs of shape "
                f"{list(inputs.shape[1:])} and type {inputs.dtype}: {error}"
            ) from error
        if not isinstance(outputs, Tensor) or len(outputs) != 2 or outputs.ndim < 2:
            told = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise NotMergeable(f"Model {name!r} must give one tensor [m, ...], not {told}.")


def _array(path: Path) -> Tensor:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = next((arrays[key] for key in ARRAYS if key in arrays.files), None)
            there = ", ".join(arrays.files)
    except (ValueError, EOFError, AttributeError) as error:
        raise data.DataError(f"{path}: must be an .npz file of plain arrays: {error}") from error
    if found is None:
        raise data.DataError(
            f"{path}: must have an array {', '.join(ARRAYS)}, it has {there or 'none'}."
        )
    if found.ndim < 2 or found.dtype.kind not in "fiu":
        raise data.DataError(
            f"{path}: must have numbers [m, ...], not {found.dtype} {list(found.shape)}."
        )
    if found.dtype == np.uint8:
        return torch.from_numpy(found.astype(np.float32)).div_(255)
    return torch.from_numpy(found.astype(np.float32 if found.dtype.kind == "f" else np.int64))
