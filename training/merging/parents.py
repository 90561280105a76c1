"""The models that are merged: checked to be of one architecture and of one start.

A merge of others is silent garbage, so whoever is refused here is refused before any work, with
the reason. Weights are float32 whatever they were stored as.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
HALVES = (torch.float16, torch.bfloat16)
# Cosine of two models' matrices below which they have no common start. Of small networks: fresh
# weights of two seeds, trained, have 0.00 to 0.01; tuned far from one start 0.9; trained far from
# common fresh weights 0.4 to 0.5.
LEAST_COSINE = 0.2


class NotMergeable(ValueError):
    """These models cannot be merged; the text says why."""


@dataclass(frozen=True, eq=False)
class Parents:
    """Models to be merged, in the order of their slots.

    Attributes:
        names: of the models.
        modules: float32, in evaluation mode, on the CPU.
        dtype: what the weights were stored as, and what the merged model's will be.
    """

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    dtype: torch.dtype

    def fresh(self) -> nn.Module:
        """A copy of the first, to be written to: integer buffers are its own."""
        return copy.deepcopy(self.modules[0])

    def thetas(self) -> list[State]:
        """Each one's parameters, those that are tied once."""
        return [parameters_of(module) for module in self.modules]


def parameters_of(module: nn.Module) -> State:
    """Parameters by name, without gradients; one that has several names comes once."""
    return {name: value.detach() for name, value in module.named_parameters()}


def parents_of(
    names: Sequence[str],
    states: Sequence[Mapping[str, Tensor]],
    module: nn.Module,
    starts: Sequence[frozenset[str]] | None = None,
) -> Parents:
    """Check models against each other, and load them.

    Args:
        names: of the models, for messages.
        states: each one's state, as `state_dict` gives it.
        module: of their architecture; its weights do not matter.
        starts: of each, the hashes of itself and of models that its training began with, where
            they are known. Where no two sets are without a common one, that is proof enough;
            else the weights are compared.

    Raises:
        NotMergeable: fewer than two, missing or further keys, other shapes or types, weights that
            are no numbers, or no common start.
    """
    if len(names) < 2:
        raise NotMergeable(f"At least 2 models are merged, not {len(names)}.")
    wanted = module.state_dict()
    for name, state in zip(names, states, strict=True):
        _check_like(name, state, "the architecture", wanted, types=False)
        _check_like(name, state, names[0], states[0], types=True)
        _check_numbers(name, state)
        _check_tied(name, state, module)
    floats = {value.dtype for value in states[0].values() if value.is_floating_point()}
    dtype = next((half for half in HALVES if half in floats), torch.float32)
    loaded = []
    for state in states:
        one = copy.deepcopy(module).float()
        one.load_state_dict({key: _whole(value) for key, value in state.items()})
        loaded.append(one.eval().requires_grad_(False))
    if starts is None or not frozenset.intersection(*starts):
        _check_cosines(names, [parameters_of(one) for one in loaded])
    return Parents(tuple(names), tuple(loaded), dtype)


def cosine(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Of two models' weights, over all that have two dimensions or more; 1 where none has.

    Biases and scales of normalisation begin alike in all networks, and tell nothing.
    """
    names = [name for name, value in one.items() if value.ndim > 1]
    if not names:
        return 1.0
    product = sum(float((one[name] * other[name]).sum()) for name in names)
    squares = [sum(float(state[name].square().sum()) for name in names) for state in (one, other)]
    return product / max(math.sqrt(squares[0] * squares[1]), 1e-30)


def _check_like(
    name: str, state: Mapping[str, Tensor], what: str, wanted: Mapping[str, Tensor], *, types: bool
) -> None:
    missing, further = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or further:
        told = f"lacks {missing[0]!r}" if missing else f"has {further[0]!r}, which is not there"
        raise NotMergeable(
            f"Model {name!r} is of another architecture than {what}: it {told} "
            f"({len(missing)} missing, {len(further)} further)."
        )
    for key, value in wanted.items():
        if state[key].shape != value.shape:
            raise NotMergeable(
                f"Model {name!r} is of another architecture than {what}: {key!r} is "
                f"{list(state[key].shape)}, not {list(value.shape)}."
            )
        if types and state[key].dtype != value.dtype:
            raise NotMergeable(
                f"Model {name!r} must have {key!r} as {value.dtype}, as {what} has, "
                f"not {state[key].dtype}."
            )


def _check_numbers(name: str, state: Mapping[str, Tensor]) -> None:
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).sum())
            raise NotMergeable(f"Model {name!r} has {bad} weights in {key!r} that are no numbers.")


def _check_tied(name: str, state: Mapping[str, Tensor], module: nn.Module) -> None:
    first: dict[int, str] = {}
    for key, value in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(value), key)
        if known != key and not torch.equal(state[known], state[key]):
            raise NotMergeable(
                f"Model {name!r} has different values in {known!r} and {key!r}, which are one "
                f"and the same in the architecture."
            )


def _check_cosines(names: Sequence[str], thetas: Sequence[State]) -> None:
    for i, j in combinations(range(len(names)), 2):
        found = cosine(thetas[i], thetas[j])
        if found < LEAST_COSINE:
            raise NotMergeable(
                f"Models {names[i]!r} and {names[j]!r} have no common start: none is recorded, and "
                f"the cosine of their weights is {found:.3f}, where at least {LEAST_COSINE} is "
                f"wanted. Merged, they would be of no use. Train both from one model, with "
                f"`kofn train base --start NAME`."
            )


def _whole(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
