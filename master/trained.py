"""Trained codes of the store for a deployment: found by name, and refused for any other model.

The slow half of `master.binding` that reads cards; nothing is checked here of shapes or programs.
"""

from collections.abc import Sequence
from typing import Any

import codes
from codes.base import Code
from codes.coin import OUTPUTS, Coin
from codes.neural import Weights
from codes.product import Product
from kofn.wire.errors import FailedPrecondition, InvalidArgument, NotFound
from master.config import CodeConfig
from models.cards import CardError
from models.programs import content_hash
from models.store import Store, UnknownModel
from models.trained import CodeCard


def trained_code(
    config: CodeConfig, hashes: Sequence[str], store: Store
) -> tuple[Code, dict[str, bytes]]:
    """A configured code with what was trained for it, and the archives of its trained roles.

    Args:
        hashes: content hashes of the deployed model, or of all models of a code over models.

    Raises:
        NotFound: the store has no such trained code.
        FailedPrecondition: it was trained for other models, or its card is unreadable.
        InvalidArgument: it is of another code or has other parameters, or none is named and the
            code cannot do without.
    """
    if config.checkpoint is None:
        code = config.make()
        if not set(code.roles) <= set(code.model_roles) or not code.is_trained:
            known = [card.name for card in store.codes.trained_for(hashes[0])]
            see = "`kofn train`" if len(hashes) == 1 else "`kofn merge`"
            raise InvalidArgument(
                f"code.checkpoint must name a trained code: {config.name!r} does nothing without. "
                f"For this model there are: {', '.join(known) or f'none; see {see}'}."
            )
        return code, {}
    try:
        card = store.codes.card(config.checkpoint)
        archives = {role: store.codes.program(card.name, role) for role in card.programs}
    except UnknownModel as error:
        raise NotFound(str(error)) from error
    except CardError as error:
        raise FailedPrecondition(str(error)) from error
    _check_parents(card, hashes)
    trained = _trained(config, card)
    kind = codes.REGISTRY[trained["name"]]
    is_same = config.name == kind.name
    free = {k: v for k, v in config.parameters.items() if is_same and k in kind.free}
    for key, value in {"name": config.name, **config.parameters}.items():
        if key not in free and trained.get(key) != value:
            raise InvalidArgument(
                f"code.{key} must be {trained.get(key)!r}, as the trained code {card.name!r} has "
                f"it, not {value!r}."
            )
    weights = store.codes.weights(card.name)
    parts: dict[str, Any] = {}
    if kind is Coin and OUTPUTS in weights:
        parts = {"outputs": Weights({OUTPUTS: weights[OUTPUTS]})}
    elif weights and kind is not Product:
        parts = {"weights": Weights(weights)}
    try:
        code = codes.make(**{**trained, **free}, **parts)
    except ValueError as error:
        raise FailedPrecondition(f"trained code {card.name!r}: {error}") from error
    for role, archive in archives.items():
        if content_hash(archive) != card.programs[role]:
            raise FailedPrecondition(
                f"trained code {card.name!r}: the program of role {role!r} has hash "
                f"{content_hash(archive)}, and its card says {card.programs[role]}."
            )
    return code, archives


def _check_parents(card: CodeCard, hashes: Sequence[str]) -> None:
    """A trained code serves with the very programs that it was trained for."""
    if not card.parents and len(hashes) == 1:
        if card.base_hash != hashes[0]:
            raise FailedPrecondition(
                f"trained code {card.name!r} belongs to the base model {card.base!r} with hash "
                f"{card.base_hash}, and the deployed program has {hashes[0]}: train it again."
            )
        return
    if len(card.parents) != len(hashes):
        raise InvalidArgument(
            f"models must be {len(card.parents)}, as the trained code {card.name!r} was made of, "
            f"not {len(hashes)}."
        )
    for i, (parent, served) in enumerate(zip(card.parents, hashes, strict=True)):
        if parent.hash != served:
            raise FailedPrecondition(
                f"trained code {card.name!r} was made of the model {parent.name!r} with hash "
                f"{parent.hash}, and the deployed model {i} has {served}: merge again."
            )


def _trained(config: CodeConfig, card: CodeCard) -> dict[str, Any]:
    """Name and parameters of the code that a card lets a configuration have: merged models of COIN
    are the rows of a product with any code over queries."""
    if (config.name, card.code) != (Product.name, Coin.name):
        return {"name": card.code, **card.parameters}
    rows = {
        "models": card.parameters["k"],
        "coded": card.parameters["n"] - card.parameters["k"],
        "weights": card.parameters["weights"],
    }
    return {**config.parameters, **rows, "name": config.name}
