"""What a plan needs of a store: found there, or trained quickly and kept."""

import re
from typing import Any

import torch

from bench.bases import Bar
from bench.sweep.plan import Plan, check_stored
from bench.sweep.ray_serve import check_installed
from codes.assisted import Assisted
from codes.backup import Backup
from models import data, networks
from models.programs import load_program
from models.store import Store
from training.base import train_and_store
from training.basis import basis
from training.codes import CodePlan, networks_within, train_code

TRAINED = re.compile(r".+\.(?P<code>backup|parity|mosaic|assisted)-k(?P<k>\d+)-r(?P<r>\d+)")


def provide(plan: Plan, store: Store, bar: Bar) -> None:
    """Train the base model and what extra slots run, where the store lacks them.

    A base DATASET-NETWORK, and trained codes that are called as `kofn train` calls them: those of
    `TRAINED`. A store that has all is only looked into.

    Raises:
        SettingsError: what is missing and is not trained here; by its line in the plan.
        FailedPrecondition: Ray Serve is wanted and not installed.
    """
    if any(system.ray for system in plan.text.systems.values()):
        check_installed()
    text = plan.text
    network = text.model.removeprefix(f"{text.dataset}-")
    if text.model not in store.names() and network in networks.REGISTRY:
        with bar(text.model) as progress:
            train_and_store(
                text.dataset, network, store=store, epochs=text.epochs, progress=progress
            )
    if text.model in store.names():
        for name in sorted(_checkpoints(plan) - set(store.codes.names())):
            if named := TRAINED.fullmatch(name):
                _train(name, named["code"], int(named["k"]), int(named["r"]), plan, store, bar)
    check_stored(plan, store)


def answers(plan: Plan, store: Store, images: torch.Tensor) -> torch.Tensor:
    """[m, classes] of the base model, in this process."""
    return load_program(store.archive(plan.text.model))([images])[0]


def chosen(plan: Plan) -> data.DataSet:
    """The test images that are asked for: the first so many, in the set's own order."""
    test = data.load(plan.text.dataset, "test")
    return test.take(torch.arange(min(plan.text.images, len(test.images))))


def _checkpoints(plan: Plan) -> set[str]:
    return {
        str(system.deployment.code.checkpoint)
        for workers in plan.text.workers
        for system in plan.systems(workers)
        if system.deployment is not None and system.deployment.code.checkpoint is not None
    }


def _train(name: str, code: str, k: int, r: int, plan: Plan, store: Store, bar: Bar) -> None:
    base = basis(plan.text.model, store)
    sized: dict[str, Any] = {}
    if code in (Backup.name, Assisted.name):
        sized = networks_within(base, code, k, r)
    with bar(name) as progress:
        made = train_code(
            CodePlan(code, k, r, **sized, name=name, epochs=plan.text.epochs),
            base,
            progress=progress,
        )
    store.codes.save(made.card, made.programs, made.weights)
