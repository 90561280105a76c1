"""Base models and trained codes of the tables, in a store: found there, or trained and kept."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

import codes
from bench.described import BaseModel, Shipped, base_name, digest, plain
from codes.base import BASE, Code
from models.programs import Program, load_program
from models.store import Store
from models.trained import CodeCard
from training.base import train_and_store
from training.basis import Basis, basis
from training.codes import CodePlan, train_code
from training.loop import Progress
from training.measure import Module
from training.run import Run

# Takes a title, shows progress on the terminal while its context lasts.
Bar = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]


def provide_base(
    model: str, base: BaseModel | Shipped, seed: int, store: Store, bar: Bar, device: str = "cpu"
) -> Basis:
    """A base model of a table, from the store or trained now.

    Args:
        model: what the table calls it.
        store: where it is kept; a training that was broken off goes on there.
        bar: called with a title; shows progress.
    """
    name = base_name(model, base, seed)
    if isinstance(base, BaseModel) and name not in store.names():
        run = Run(store.root / ".runs" / name, {"base": asdict(base), "seed": seed})
        with bar(name) as progress:
            train_and_store(
                base.dataset,
                base.network,
                name=name,
                options=base.options,
                seed=seed,
                epochs=base.epochs,
                recipe=base.recipe,
                store=store,
                progress=progress,
                device=device,
                run=run,
            )
        run.finish()
    return basis(name, store, device)


@dataclass(frozen=True)
class Provided:
    """A trained code as a store keeps it: what would be served.

    Attributes:
        card: what it is.
        code: as it was trained.
        modules: by role, the programs, and the base model.
    """

    card: CodeCard
    code: Code
    modules: Mapping[str, Module]


def provide_code(
    plan: CodePlan, base: Basis, store: Store, bar: Bar, device: str = "cpu"
) -> Provided:
    """A trained code without weights of its own, from the store or trained now.

    Args:
        plan: its name follows from the rest of it.
        store: where it is kept; a training that was broken off goes on there.
        bar: called with a title; shows progress.
    """
    config: dict[str, Any] = {**plain(plan), "base_hash": base.card.hash}
    name = f"{base.card.name}.{plan.code}-k{plan.k}-{digest(config)}"
    if name not in store.codes.names():
        run = Run(store.root / ".runs" / name, config)
        with bar(name) as progress:
            trained = train_code(replace(plan, name=name), base, progress=progress, run=run)
        store.codes.save(trained.card, trained.programs, trained.weights)
        run.finish()
    card = store.codes.card(name)
    modules: dict[str, Module] = {BASE: base.module}
    for role in card.programs:
        modules[role] = _called(load_program(store.codes.program(name, role), device))
    return Provided(card, codes.make(card.code, **card.parameters), modules)


def _called(program: Program) -> Module:
    def module(rows: Tensor) -> Tensor:
        return program([rows])[0]

    return module
