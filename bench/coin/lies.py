"""Which lies codes over models notice, and whom they name: digits, results corrupted by the fault
injector's own laws, judged by the code objects that serve.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from bench.coin.family import Members
from codes.base import Code
from codes.calibrated import Calibrated, measure_moments
from codes.coin import coin_roles
from codes.locating import most_liars
from codes.product import Product
from training.measure import answers_of
from training.merging import MergePlan, Parents, merge, mixed, parents_of
from training.merging.building import Coded
from training.merging.report import coin_of
from worker.faults import Corruption, Faults, Injector

INPUTS = 1024  # for merging
LAWS = {"sign flip": Corruption("sign-flip"), "another's": Corruption("swap")}
GROUPS = (1, 8, 32)
TITLES = ("code", "slots", "groups", "lie", "batches", "noticed", "located", "false alarms")


def lies(
    members: Members, models: int, r: int, *, product: bool, batches: int
) -> Iterator[dict[str, Any]]:
    """Shares of batches with one liar, a random one, and of the same batches without.

    Args:
        members: the networks.
        models: of them, the first so many.
        r: merged models.
        product: times two queries and their parity, calibrated.
        batches: of each row.
    """
    seed = members.seed
    modules, tasks = [members.member(i) for i in range(models)], members.tasks[:models]
    names = [one.name for one in tasks]
    states = [module.state_dict() for module in modules]
    parents = parents_of(names, states, members.fresh())
    parts = [one.learning.images for one in tasks]
    plan = MergePlan(r=r, seed=seed, limit=float("inf"))
    coded = merge(parents, plan, mixed(names, parts, INPUTS, seed, models))
    code = _product(parents, coded, parts, seed) if product else coin_of(
        coded.rows, "fitted", coded.outputs
    )  # fmt: skip
    by_role = _by_role(parents, coded)
    test = torch.cat([one.test.images for one in tasks])
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    order = order[: len(order) // code.q * code.q].view(-1, code.q)
    pairs = zip(code.roles, code.encode(test[order]), strict=True)
    results = torch.stack([answers_of(by_role[role], shard) for role, shard in pairs], 1)
    for groups in GROUPS:
        for law, corruption in LAWS.items():
            yield {
                "code": "product" if product else "coin", "models": models, "k": code.k,
                "n": code.n, "recovery_threshold": code.recovery_threshold, "groups": groups,
                "law": law, "batches": batches, "errors": 1, "locates": most_liars(code) > 0,
                **_shares(code, results, groups, corruption, batches, seed),
            }  # fmt: skip


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A record under `TITLES`."""
    shares = {what: f"{100 * row[what]:.1f} %" for what in ("noticed", "located", "false_alarms")}
    return (
        f"{row['code']}, {row['models']} models",
        str(row["n"]),
        str(row["groups"]),
        row["law"],
        str(row["batches"]),
        shares["noticed"],
        shares["located"] if row["locates"] else "–",
        shares["false_alarms"],
    )


def _by_role(parents: Parents, coded: Coded) -> dict[str, torch.nn.Module]:
    every = [*parents.modules, *coded.modules]
    return dict(zip(coin_roles(len(parents.modules), len(coded.modules)), every, strict=True))


def _product(parents: Parents, coded: Coded, parts: list[torch.Tensor], seed: int) -> Calibrated:
    models, r = len(parents.modules), len(coded.modules)
    code = Product(2 * models, 3 * (models + r), models, r, coded.rows)
    queries = torch.cat(parts)
    chosen = torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed))[:1000]
    moments = measure_moments(code, _by_role(parents, coded), queries[chosen], seed=seed)
    return Calibrated(code, moments)


def _shares(
    code: Code, results: torch.Tensor, groups: int, corruption: Corruption, batches: int, seed: int
) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    injector = Injector(Faults(seed, corruption=corruption), "worker")
    noticed = located = alarms = 0
    for number in range(batches):
        rows = torch.from_numpy(rng.choice(len(results), groups, replace=False))
        honest = list(results[rows].unbind(1))
        before = results[rng.integers(len(results), size=groups)]
        liar = int(rng.integers(code.n))
        (lie,) = injector.corrupt(number, [honest[liar].numpy()], [before[:, liar].numpy()])
        told = [torch.from_numpy(lie) if s == liar else h for s, h in enumerate(honest)]
        accused = code.suspects(told)
        noticed += bool(accused)
        located += accused == (liar,)
        alarms += bool(code.suspects(honest))
    return {
        "noticed": noticed / batches,
        "located": located / batches,
        "false_alarms": alarms / batches,
    }
