"""What a product of models and queries recovers: two models times two queries, digits.

Networks of the table `coin`'s first setting. Answers are decoded by the code objects that serve,
with modules in place of workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.coin.family import Members
from codes.base import Code
from codes.calibrated import Calibrated, measure_moments
from codes.coin import coin_roles
from codes.product import Product
from training.measure import answers_of
from training.merging import MergePlan, merge, mixed, parents_of

INPUTS = 1024  # for merging
MOMENTS = 1000  # queries, as a deployment takes by default
COLUMNS = {"parity": 3, "replication": 4}  # slots of the query code for two queries
MERGES: tuple[tuple[str, str, dict[str, Any]], ...] = (  # method, on which inputs, settings
    ("average", "queries", {"method": "average"}),
    ("coin", "queries", {"method": "coin"}),
    ("distill", "queries", {"method": "distill", "steps": 300}),
    ("distill", "queries and mixes", {"method": "distill", "steps": 300}),
)
LOST = ("own", "row", "columns", "row and column")
TITLES = (
    "columns", "merged by", "on", "decoder", "seeds", "clean", "own slots", "a model's row",
    "a query's columns", "a row and a column",
)  # fmt: skip


def grids(members: Members) -> Iterator[dict[str, Any]]:
    """Accuracy of lost answers, each on its model's own task, by what was lost.

    Args:
        members: two networks.
    """
    modules, tasks = [members.member(i) for i in range(2)], members.tasks
    names = [one.name for one in tasks]
    parents = parents_of(names, [module.state_dict() for module in modules], members.fresh())
    images = [one.learning.images for one in tasks]
    queries = torch.cat(images)
    draw = torch.Generator().manual_seed(members.seed)
    queries = queries[torch.randperm(len(queries), generator=draw)[:MOMENTS]]
    for method, source, settings in MERGES:
        parts = images if source == "queries" else [_with_mixes(part, draw) for part in images]
        inputs = mixed(names, parts, INPUTS, members.seed, len(modules))
        plan = MergePlan(**settings, seed=members.seed, limit=float("inf"))
        coded = merge(parents, plan, inputs).modules
        every = dict(zip(coin_roles(2, 1), [*modules, *coded], strict=True))
        for columns, width in COLUMNS.items():
            plain = Product(4, 3 * width, columns=columns)
            moments = measure_moments(plain, every, queries, seed=members.seed)
            for decoder, code in (("fixed", plain), ("calibrated", Calibrated(plain, moments))):
                found = _accuracies(code, width, every, members)
                yield {
                    "columns": columns, "method": method, "inputs": source, "decoder": decoder,
                    "k": code.k, "n": code.n, "recovery_threshold": code.recovery_threshold,
                    "clean": found.pop("none"), "lost_only": found,
                }  # fmt: skip


def cells(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Means over the seeds, under `TITLES`."""
    kept: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for one in found:
        key = (one["columns"], one["method"], one["inputs"], one["decoder"])
        kept.setdefault(key, []).append(one)
    return [
        (
            *key,
            str(len({one["seed"] for one in group})),
            f"{mean(one['clean'] for one in group):.3f}",
            *(
                f"{mean(one['lost_only'][what] for one in group):.3f}"
                if what in group[0]["lost_only"]
                else "–"
                for what in LOST
            ),
        )
        for key, group in kept.items()
    ]


def _with_mixes(images: Tensor, draw: torch.Generator) -> Tensor:
    """And means of pairs of them: what a parity of two queries is."""
    order = torch.randperm(len(images), generator=draw)
    half = len(images) // 2
    return torch.cat([images, (images[order[:half]] + images[order[half : 2 * half]]) / 2])


def _accuracies(
    code: Code, width: int, modules: Mapping[str, nn.Module], members: Members
) -> dict[str, float]:
    """By what was lost; without what cannot be decoded then."""
    hits: dict[str, list[float]] = {}
    for model, task in enumerate(members.tasks[:2]):
        order = torch.randperm(len(task.test.labels), generator=torch.Generator().manual_seed(0))
        order = order[: len(order) // 2 * 2].view(-1, 2)
        shards, labels = code.encode(task.test.images[order]), task.test.labels[order]
        pairs = zip(code.roles, shards, strict=True)
        results = [answers_of(modules[role], shard) for role, shard in pairs]
        for what, (lost, wanted) in _losses(code, width, model).items():
            here = [slot for slot in range(code.n) if slot not in lost]
            answers = [2 * model + query for query in wanted]
            if not np.isfinite(code.gain(here)[answers]).all():
                continue  # all copies of a query
            given = code.decode([results[slot] for slot in here], here, answers)
            right = given.argmax(-1) == labels[:, wanted]
            hits.setdefault(what, []).append(float(right.float().mean()))
    return {what: round(mean(found), 5) for what, found in hits.items()}


def _losses(code: Code, width: int, model: int) -> dict[str, tuple[set[int], list[int]]]:
    """Lost slots, and which of a model's two queries are to be answered."""
    own = set(code.own_slots[2 * model])  # of query 0
    row = set(range(model * width, (model + 1) * width))
    column = {slot for slot in range(code.n) if slot % width in {s % width for s in own}}
    first = {slot for slot in column if slot % width == 0}  # of a copied query, one copy
    return {
        "none": (set(), [0, 1]),
        "own": (own, [0]),
        "row": (row, [0, 1]),
        "columns": (column, [0]),
        "row and column": (row | first, [0]),
    }
