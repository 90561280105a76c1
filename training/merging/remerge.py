"""Puts another model into the place of one of a code's parents, without merging the others anew."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import inf

import torch
from torch import Tensor, nn

from models.store import Store
from models.trained import CodeCard, Parent
from training.merging.building import Coded, Tell, outputs_of, timed, written
from training.merging.fisher import GAUSS, diagonal
from training.merging.parents import NotMergeable, Parents, State, parents_of
from training.merging.plan import AVERAGE, COIN, Inputs
from training.merging.report import report
from training.merging.stored import BUILD, FISHER, HELD, MODEL, Merged, architecture, kept
from training.merging.sums import Sums


def replaced(
    name: str,
    old: str,
    new: str,
    store: Store,
    module: nn.Module | None = None,
    tell: Tell = lambda what, share: None,
) -> Merged:
    """The code of this name with another model in the place of one of its own.

    One pass for the new model's Fisher information; then sums are corrected in time proportional
    to a model's weights, and the damping stays as it was chosen.

    Args:
        name: of the code; it is left as it is.
        old: the parent whose place is taken.
        new: a stored model of the same architecture and start; it may be `old`, trained on.
        store: of both.
        module: of their architecture, if it is none of this package's.
        tell: called with what is done and the share that is.

    Raises:
        UnknownModel: no such code or model.
        NotMergeable: `old` is not its parent; the method has no sums to correct; or the new model
            does not fit the others.
    """
    card, state = store.codes.card(name), store.codes.state(name)
    names = [parent.name for parent in card.parents]
    if old not in names:
        raise NotMergeable(
            f"Code {name!r} is of {', '.join(names) or 'one model'}, not of {old!r}."
        )
    method = card.recipe["method"]
    if method not in (COIN, AVERAGE):
        raise NotMergeable(
            f"Code {name!r} was made with method {method!r}, which has no sums to be corrected: "
            f"merge anew."
        )
    if isinstance(card.recipe["damping"], list):
        raise NotMergeable(
            f"Code {name!r} was made by an earlier version, with a damping for each coded model: "
            f"merge anew."
        )
    place, arrived = names.index(old), store.card(new)
    names[place] = new
    states = [_part(state, MODEL.format(i)) for i in range(len(names))]
    before, fresh = states[place], store.weights(new)
    states = [_typed(one, fresh) for one in states]
    states[place] = fresh
    parents = parents_of(names, states, module or architecture(arrived))
    inputs = Inputs(tuple(card.recipe["calibration"]), state[BUILD], state[HELD])
    seconds: dict[str, float] = {}
    fishers = [_part(state, FISHER.format(i)) for i in range(len(names))] if method == COIN else []
    earlier = fishers[place] if fishers else {}
    if fishers:
        seen, told = inputs.build[: card.recipe["samples"]], partial(tell, f"Fisher of {new}")
        with timed(seconds, "fisher"):
            fishers[place] = diagonal(parents.modules[place], seen, GAUSS, told)
    coded = _recoded(card, parents, inputs, fishers, (place, before, earlier), seconds)
    models = tuple(
        Parent(new, arrived.hash) if i == place else parent for i, parent in enumerate(card.parents)
    )
    first = models[0]
    changed = replace(card, parents=models, base=first.name, base_hash=first.hash)
    return kept(changed, parents, inputs, coded)


def _recoded(
    card: CodeCard,
    parents: Parents,
    inputs: Inputs,
    fishers: list[State],
    gone: tuple[int, State, State],
    seconds: dict[str, float],
) -> Coded:
    """The coded models after one parent has gone: its place, weights and Fisher information."""
    place, before, earlier = gone
    thetas, after = parents.thetas(), parents.thetas()[place]
    fresh = fishers[place] if fishers else {}
    thetas[place] = {key: before[key] for key in after}
    rows = tuple(tuple(row) for row in card.parameters["weights"])
    told = card.recipe["damping"]
    damping = inf if told is None else told
    known = [earlier if i == place else one for i, one in enumerate(fishers)]
    sums = [Sums(thetas, known, row) for row in rows]
    with timed(seconds, "merge"):
        for one in sums:
            one.replace(place, (thetas[place], earlier), (after, fresh))
        parameters = [one.merged(damping) for one in sums]
    with timed(seconds, "statistics"):
        modules = tuple(
            written(parents, found, row, inputs.build)
            for found, row in zip(parameters, rows, strict=True)
        )
    with timed(seconds, "report"):
        parts = [
            outputs_of([*parents.modules, *modules], part) for part in (inputs.build, inputs.held)
        ]
        figures, metrics = report(rows, card.parameters["decoding"], *parts)
    return Coded(
        modules, rows, damping, tuple(fishers), torch.cat(parts), figures, metrics, seconds
    )


def _typed(state: State, like: State) -> State:
    """As the models were before they were merged as float32."""
    return {
        key: value.to(like[key].dtype) if key in like else value for key, value in state.items()
    }


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
