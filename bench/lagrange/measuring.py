"""Runs a row of the table of split Lagrange networks: a record for every number of lost slots.

All systems are asked the same coding groups, and lose the same sets of slots. Accuracies are over
all queries; a query without an answer is a uniform guess.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import comb
from typing import Any

from bench.bases import Bar, provide_base
from bench.lagrange.plan import Row
from bench.lagrange.stopping import stopped
from bench.lagrange.systems import (
    CALIBRATED,
    SYSTEMATIC,
    Questions,
    first_images,
    systems_of,
)
from bench.lagrange.trained import trained_for
from bench.records import provenance
from codes.split_lagrange import SplitLagrange
from models.cards import proportion
from models.store import Store
from models.trained import CodeCard
from training.basis import Basis
from training.measure import MOST_SETS, Answered, worth

FLOAT_BYTES = 4
VARIANTS = (CALIBRATED, SYSTEMATIC)
Record = dict[str, Any]


def run_row(
    row: Row,
    store: Store,
    published: Callable[[int], Sequence[Mapping[str, Any]]],
    bar: Bar,
    device: str = "cpu",
) -> Iterator[Record]:
    """Train what a row still wants, and give its records: one a number of answers, the last for
    the stop rule, where `lost` is null.

    Args:
        row: of the table.
        store: base models and trained codes are kept there, and found again.
        published: figures to put beside a cell, by its number of lost slots.
        bar: called with a title; shows progress.
        device: where to train.
    """
    base = provide_base(row.model, row.base, row.seed, store, bar, device)
    trained = trained_for(row, base, store, bar, device)
    questions = Questions(first_images(base.test, row.images), base, row.seed)
    asked = [
        (system, questions.of(system.code, system.modules))
        for system in systems_of(row, trained, base)
    ]
    whole = asked[0][1]
    shared = {
        **about(row),
        "recovery_threshold": whole.code.recovery_threshold,
        "clean": round(whole.whole.value, 5),
        "base_accuracy": base_accuracy(whole),
        "groups": len(whole.groups),
        "costs": costs(trained.split.card, row.n, base),
        **of_training(trained.split.card, base),
    }
    for lost in range(row.n):
        found = {
            system.name: {**accuracies(answered, lost), **system.about}
            for system, answered in asked
        }
        own = found.pop(SplitLagrange.name)
        yield {
            **shared,
            **own,
            "answers": row.n - lost,
            "lost": lost,
            "sets": min(comb(row.n, lost), MOST_SETS),
            "sampled": comb(row.n, lost) > MOST_SETS,
            "variants": {name: found.pop(name) for name in VARIANTS if name in found},
            "baselines": {"uncoded": uncoded(shared["base_accuracy"], row, lost, base), **found},
            "published": list(published(lost)),
        }
    yield {**shared, "lost": None, "stop": stopped(whole, row.stop, row.seed)}


def about(row: Row) -> Record:
    """What every record of a row begins with, also where it failed."""
    return {
        "row": row.name,
        "dataset": row.base.dataset,
        "model": row.model,
        "code": SplitLagrange.name,
        "k": row.k,
        "n": row.n,
        "seed": row.seed,
        "spec": row.spec,
    }


def costs(card: CodeCard, n: int, base: Basis) -> dict[str, float]:
    """Of both designs, from a trained code's card.

    Returns:
        stem, worker: of a base model's multiply-adds for one query: the stem for one query and the
            trunk for one group, which is the master-heavy design. mixer: what a worker does for a
            group in the worker-heavy one. payload: numbers of a mix over those of a query.
            master_bytes, worker_bytes: sent to all workers together, a query of the group.
    """
    assert card.cost is not None
    assert card.stem_cost is not None
    assert card.payload is not None
    k = int(card.parameters["k"])
    query_bytes = FLOAT_BYTES * base.test.images[0].numel()
    return {
        "stem": card.stem_cost,
        "worker": card.cost,
        "mixer": round(k * card.stem_cost + card.cost, 4),
        "payload": card.payload,
        "master_bytes": round(n * card.payload * query_bytes / k),
        "worker_bytes": round(n * (query_bytes + FLOAT_BYTES)),
    }


def uncoded(accuracy: float, row: Row, lost: int, base: Basis) -> dict[str, float]:
    """k slots, each lost with the same chance as here, and a guess for what is lost."""
    guess = 1 / len(base.card.classes)
    shares = {"overall": lost / row.n, "worst": min(lost, row.k) / row.k}
    return {name: round((1 - f) * accuracy + f * guess, 5) for name, f in shares.items()}


def of_training(card: CodeCard, base: Basis) -> Record:
    """Where a trained code came from, for its records."""
    return {
        "seconds": card.wall_time_s,
        "recipe": card.recipe,
        "base_hash": base.card.hash,
        "programs": card.programs,
        **provenance(),
    }


def accuracies(answered: Answered, lost: int) -> Record:
    """A system's accuracies with so many slots lost; the interval is of as many queries as there
    are, however many sets of slots were lost."""
    queries = answered.groups.numel()
    if not lost:
        whole = round(answered.whole.value, 5)
        found: Record = {"overall": whole, "worst": whole, "lost_only": None, "agreement": None}
    else:
        of = worth(answered, lost)
        found = {
            "overall": round(of.overall.value, 5),
            "worst": round(of.overall_worst.value, 5),
            "lost_only": round(of.lost_only.value, 5),
            "agreement": round(of.agreement.value, 5),
        }
    ends = proportion(round(found["overall"] * queries), queries).interval
    return {**found, "interval": [round(end, 5) for end in ends]}


def base_accuracy(answered: Answered) -> float:
    """Of the base model, over the images of the coding groups."""
    places = answered.groups.flatten()
    right = answered.truth[places].argmax(-1) == answered.labels[places]
    return round(float(right.float().mean()), 5)
