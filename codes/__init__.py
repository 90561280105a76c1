"""Erasure codes for inference: tensors in, tensors out; no I/O, clock, randomness or global state.

`make` builds a code by its name; `REGISTRY` holds them all. Codes of products of two matrices,
whose slots take a pair of shares and no query, are in `PRODUCTS`.
"""

from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any

from codes.assisted import Assisted
from codes.backup import Backup
from codes.base import Code, NotRecoverable
from codes.berrut import Berrut
from codes.coin import Coin
from codes.exact_case import ExactCase
from codes.lagrange import Lagrange
from codes.learned import Learned
from codes.mosaic import Mosaic
from codes.parity import Parity
from codes.polydot import Product as PolyDot
from codes.product import Product
from codes.replication import Replication
from codes.spline import Spline
from codes.split_lagrange import SplitLagrange
from codes.uncoded import Uncoded

__all__ = ["PRODUCTS", "REGISTRY", "Code", "ExactCase", "NotRecoverable", "make"]

REGISTRY: dict[str, type[Code]] = {
    kind.name: kind
    for kind in (
        Uncoded,
        Replication,
        Parity,
        Mosaic,
        Backup,
        Assisted,
        Learned,
        Lagrange,
        SplitLagrange,
        Berrut,
        Spline,
        Coin,
        Product,
    )
}

PRODUCTS: dict[str, type[PolyDot]] = {PolyDot.name: PolyDot}


def make(name: str, **parameters: Any) -> Code:
    """Build a registered code: `make("parity", k=4, n=6)`.

    Raises:
        ValueError: no such code, no such parameter, one is missing, or a value is refused; says
            which, and what is accepted.
    """
    kind = REGISTRY.get(name)
    if kind is None:
        near = get_close_matches(name, REGISTRY, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(REGISTRY)}."
        raise ValueError(f"Argument 'name' must be a registered code, not {name!r}: {hint}")
    accepted = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    listed = ", ".join(accepted)
    for parameter in parameters:
        if parameter not in accepted:
            near = get_close_matches(parameter, accepted, n=1)
            hint = f" did you mean {near[0]}?" if near else ""
            raise ValueError(f"Code {name!r} takes no {parameter!r}, only {listed}.{hint}")
    for parameter, field in accepted.items():
        if parameter not in parameters and field.default is MISSING:
            raise ValueError(f"Code {name!r} needs {parameter!r}; it takes {listed}.")
    return kind(**parameters)
