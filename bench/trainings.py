"""Runs the rows of a table of trained codes: train what is missing, measure, record.

Every row is measured by the very encode and decode that serve, with modules in place of workers;
whether the live cluster agrees is `bench.live_accuracy`'s question.
"""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.bases import Bar, provide_base
from bench.cells import Published, Row
from bench.records import provenance
from codes.assisted import Assisted
from codes.backup import Backup
from codes.base import Code
from codes.calibrated import Calibrated, measure_moments
from codes.linear import LinearDecoding
from models.cards import Metric
from models.store import Store
from training.basis import Basis
from training.codes import CodePlan, networks_within, train_code
from training.measure import Module, Worth, measure
from training.run import Run

PLAIN, LMMSE = "plain", "lmmse"


def run_row(
    row: Row, store: Store, published: Sequence[Published], bar: Bar, device: str = "cpu"
) -> Iterator[dict[str, Any]]:
    """Train a row and give its records: one for each decoder and number of lost slots.

    Args:
        row: of the table.
        store: base models are kept there, and found again; trainings that were broken off too.
        published: figures to put beside it.
        bar: called with a title; shows progress.
        device: where to train.
    """
    base = provide_base(row.model, row.base, row.seed, store, bar, device)
    start_s = time.monotonic()
    networks: dict[str, Any] = {}
    if row.code in (Backup.name, Assisted.name) or row.parameters.get("assisted"):
        networks = networks_within(base, row.code, row.k, row.r, row.cost)
        networks["student"] |= row.student
    plan = CodePlan(
        code=row.code,
        k=row.k,
        r=row.r,
        parameters=row.parameters,
        **networks,
        name=row.code_name,
        seed=row.seed,
        epochs=row.epochs,
        recipe=row.recipe,
    )
    run = Run(store.root / ".runs" / row.code_name, row.spec)
    with bar(row.name) as progress:
        trained = train_code(plan, base, progress=progress, run=run)
    seconds = time.monotonic() - start_s
    for decoder, code in _decoders(trained.code, trained.modules, base):
        chosen_by = measure(code, trained.modules, base.validation, device=device)
        for lost in range(1, row.r + 1):
            worth = measure(code, trained.modules, base.test, lost=lost, device=device)
            yield {
                **_of_row(row),
                "recovery_threshold": code.recovery_threshold,
                "decoder": decoder,
                "lost": lost,
                **_accuracies(worth),
                "validation": round(chosen_by.lost_only.value, 5),
                "baselines": _baselines(worth, row, lost, len(base.card.classes)),
                "published": [asdict(figure) for figure in published],
                "cost": trained.card.cost,
                "seconds": round(seconds, 1),
                "base_hash": base.card.hash,
                "recipe": trained.card.recipe,
                **provenance(),
            }
    store.codes.save(trained.card, trained.programs, trained.weights, overwrite=True)
    run.finish()


def failed(row: Row, error: Exception) -> dict[str, Any]:
    """The record of a row that came to nothing."""
    return {**_of_row(row), "error": f"{type(error).__name__}: {error}", **provenance()}


def _of_row(row: Row) -> dict[str, Any]:
    return {
        "row": row.name,
        "dataset": row.base.dataset,
        "model": row.model,
        "code": row.code,
        "k": row.k,
        "n": row.k + row.r,
        "seed": row.seed,
        "spec": row.spec,
    }


def _decoders(code: Code, modules: Mapping[str, Module], base: Basis) -> Iterator[tuple[str, Code]]:
    """The code as it is, and with the calibrated read-out where its decoder is a matrix."""
    yield PLAIN, code
    if isinstance(code, LinearDecoding):
        queries = base.validation.images.to(base.device)
        yield LMMSE, Calibrated(code, measure_moments(code, modules, queries))


def _accuracies(worth: Worth) -> dict[str, Any]:
    metrics: dict[str, Metric] = {
        "clean": worth.clean,
        "overall": worth.overall,
        "lost_only": worth.lost_only,
        "worst": worth.worst,
        "agreement": worth.agreement,
    }
    found: dict[str, Any] = {key: round(metric.value, 5) for key, metric in metrics.items()}
    found["interval"] = [round(end, 5) for end in worth.lost_only.interval]
    found["groups"] = worth.groups
    return found | {"right": packed(worth)}


def packed(worth: Worth) -> str | None:
    """With one lost slot: which images' lost answers were right, a bit an image, base64; so that
    two codes can be compared query by query. An image that no group has counts as wrong."""
    right = worth.by_query.nan_to_num(0.0).numpy()
    if not np.isin(right, (0.0, 1.0)).all():
        return None
    return base64.b64encode(np.packbits(right.astype(bool)).tobytes()).decode()


def _baselines(worth: Worth, row: Row, lost: int, classes: int) -> dict[str, float]:
    """Accuracy over all queries of systems that train nothing, with as many slots lost.

    Uncoded: k slots, each lost with the same chance as here. Replication: r of the k slots have a
    copy; a query is lost where all its slots are.
    """
    n, clean, guess = row.k + row.r, worth.clean.value, 1 / classes
    single = lost / n
    both = single * (lost - 1) / (n - 1)
    copied = min(row.r / row.k, 1.0)
    unanswered = {"uncoded": single, "replication": copied * both + (1 - copied) * single}
    return {name: round(clean * (1 - f) + guess * f, 5) for name, f in unanswered.items()}
