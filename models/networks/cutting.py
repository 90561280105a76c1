"""A network in two: the stem, which is run on every query, and the trunk, which is the rest.

Whether a cut is any good is for those to say who train (`training.lagrange`).
"""

from difflib import get_close_matches

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def cuts(network: nn.Module) -> tuple[str, ...]:
    """Names of the steps after which a network may be cut, in order; the last one is no cut."""
    return tuple(_steps(network))[:-1]


def cut(network: nn.Module, after: str) -> tuple[nn.Module, nn.Module]:
    """Stem and trunk of a network; their composition is the network, and they share its weights.

    Raises:
        ValueError: it has no such step, or cannot be cut; says what is accepted.
    """
    known = cuts(network)
    if after not in known:
        near = get_close_matches(after, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Argument 'cut' must be one of {', '.join(known)}, not {after!r}.{hint}")
    steps = list(_steps(network).values())
    place = known.index(after) + 1
    return nn.Sequential(*steps[:place]), nn.Sequential(*steps[place:])


def has_batch_norm(module: nn.Module) -> bool:
    """Whether what it does depends on statistics of the batches that it was trained on."""
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def _steps(network: nn.Module) -> dict[str, nn.Module]:
    steps = getattr(network, "steps", None)
    if steps is None:
        raise ValueError(f"A {type(network).__name__} cannot be cut: it has no steps.")
    found: dict[str, nn.Module] = steps()
    return found
