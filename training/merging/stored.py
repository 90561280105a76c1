"""Merges models of the store into a code of the store.

What is kept: a card with all parents' hashes, coded models as programs, the outputs that decoders
are fitted to, and what `training.merging.remerge` puts another model into a parent's place with.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import isinf
from typing import Any

from torch import Tensor, nn

from codes.coin import OUTPUTS, Coin
from models import networks
from models.cards import Card
from models.programs import content_hash, export_program
from models.store import Store
from models.trained import CodeCard, Parent, usual_name
from training.base import versions
from training.merging.building import Coded, Tell, merge
from training.merging.parents import NotMergeable, Parents, parents_of
from training.merging.plan import Inputs, MergePlan

CODED = "coded-{}"  # role of a coded model
MODEL, FISHER, BUILD, HELD = "model.{}.", "fisher.{}.", "inputs.build", "inputs.held"


@dataclass(frozen=True, eq=False)
class Merged:
    """What `Store.codes.save` takes."""

    card: CodeCard
    programs: dict[str, bytes]
    weights: dict[str, Tensor]
    state: dict[str, Tensor]


def architecture(card: Card) -> nn.Module:
    """A stored model's network, with weights that do not matter.

    Raises:
        NotMergeable: it is none of this package's.
    """
    if card.network not in networks.REGISTRY:
        raise NotMergeable(
            f"Model {card.name!r} is of the user's own architecture {card.network!r}: name it "
            f"with --arch."
        )
    return networks.make(card.network, card.input_shape, len(card.classes), **card.options)


def stored_parents(names: Sequence[str], store: Store, module: nn.Module | None = None) -> Parents:
    """Models of the store, checked.

    Args:
        names: of the models.
        store: where they are.
        module: of their architecture, if it is none of this package's.

    Raises:
        UnknownModel: not in the store, or saved without weights.
        NotMergeable: as of `parents_of`; or another network or input shape.
    """
    if len(set(names)) < max(2, len(names)):
        raise NotMergeable(f"At least 2 models are merged, each once, not {', '.join(names)}.")
    cards = [store.card(name) for name in names]
    for card in cards[1:]:
        for what in ("network", "input_shape"):
            one, other = getattr(cards[0], what), getattr(card, what)
            if one != other:
                raise NotMergeable(
                    f"Models {cards[0].name!r} and {card.name!r} are of different architectures: "
                    f"{what} is {one!r} and {other!r}."
                )
    states = [store.weights(name) for name in names]
    starts = [frozenset({card.hash, card.start_hash} - {""}) for card in cards]
    return parents_of(names, states, module or architecture(cards[0]), starts)


def merge_stored(
    parents: Parents,
    models: Sequence[Parent],
    plan: MergePlan,
    inputs: Inputs,
    name: str | None = None,
    tell: Tell = lambda what, share: None,
) -> Merged:
    """Merge models into a code.

    Args:
        parents: the models.
        models: their names in a store and the hashes of their programs, in the same order.
        plan, inputs, tell: as of `merge`.
        name: of the code; default A+B.coin-k2-r1.

    Raises:
        The errors of `merge`.
    """
    coded = merge(parents, plan, inputs, tell)
    k, n = len(models), len(models) + len(coded.rows)
    card = CodeCard(
        name=name or default_name(parents.names, n - k),
        code=Coin.name,
        parameters={
            "k": k,
            "n": n,
            "weights": [list(row) for row in coded.rows],
            "decoding": plan.decoding,
        },
        base=models[0].name,
        base_hash=models[0].hash,
        parents=tuple(models),
        recipe={**_recipe(plan), "calibration": list(inputs.names)},
        cost=1.0,
        seed=plan.seed,
        versions=versions(),
    )
    return kept(card, parents, inputs, coded)


def default_name(names: Sequence[str], r: int) -> str:
    """What a code is called if not told otherwise."""
    return usual_name("+".join(names), Coin.name, len(names), r)


def _recipe(plan: MergePlan) -> dict[str, Any]:
    return {
        key: value for key, value in asdict(plan).items() if key not in ("rows", "r", "dampings")
    }


def kept(card: CodeCard, parents: Parents, inputs: Inputs, coded: Coded) -> Merged:
    """Coded models as a store keeps them.

    Args:
        card: all but what follows from the others.
        parents, inputs: that they were made of.
        coded: the models.
    """
    example = inputs.build[:1]
    if example.is_floating_point():
        example = example.to(parents.dtype)
    programs = {
        CODED.format(i): export_program(copy.deepcopy(module).to(parents.dtype), example)
        for i, module in enumerate(coded.modules)
    }
    whole = replace(
        card,
        programs={role: content_hash(archive) for role, archive in programs.items()},
        recipe={
            **card.recipe,
            "damping": None if coded.damping is None or isinf(coded.damping) else coded.damping,
        },
        report={**coded.report, "seconds": coded.seconds},
        metrics=coded.metrics,
        wall_time_s=round(sum(coded.seconds.values()), 2),
    )
    state = {BUILD: inputs.build, HELD: inputs.held}
    for i, module in enumerate(parents.modules):
        state |= {MODEL.format(i) + key: value for key, value in module.state_dict().items()}
    for i, fisher in enumerate(coded.fishers):
        state |= {FISHER.format(i) + key: value for key, value in fisher.items()}
    return Merged(whole, programs, {OUTPUTS: coded.outputs.float()}, state)
