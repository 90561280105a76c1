"""How well liars are found, and what they cost: `python -m bench liars`.

Offline, over the test set, with programs run as workers run them and results corrupted by the
fault injector's own laws; the code, its moments, its locator and the master's questions are those
that serve.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

import codes
from bench.judges import JUDGES, Again, Locator, Results, Verdict, tensors
from bench.records import provenance
from codes.base import Code
from codes.calibrated import Calibrated, measure_moments
from codes.lagrange import Lagrange
from codes.locating import LocatesErrors
from codes.moments import ROWS_AT_ONCE
from master.config import QUERIES_OF_LIARS
from models import data
from models.programs import Program, load_program
from models.store import Store
from training.base import train_and_store
from worker.faults import Corruption, Faults, Injector

LAWS = {
    "noise 10": Corruption("gaussian", scale=10.0),  # in logits, as the papers count
    "noise 100": Corruption("gaussian", scale=100.0),
    "sign flip": Corruption("sign-flip"),
    "another's": Corruption("swap"),
    "bit flip": Corruption("bit-flip"),
}
TITLES = (
    "code", "locator", "workers", "groups", "lie", "batches", "located", "innocent accused",
    "false alarms", "accuracy, no liar", "one lost", "with a liar", "undefended",
    "largest error", "asked again, no liar", "with one",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A code over a model, its results on the test set, and what is right."""

    model: str
    code: LocatesErrors
    results: Results  # of all groups
    truth: np.ndarray  # [groups, k], labels

    @classmethod
    def of(cls, model: str, code: Code, store: Store, seed: int) -> "Case":
        """Run a stored model's program on every slot's shards; calibrate if need be."""
        program = load_program(store.archive(model))
        dataset = store.card(model).dataset
        answer = partial(_answer, program)
        generator = torch.Generator().manual_seed(seed)
        if not isinstance(code, LocatesErrors):
            images = data.load(dataset, "train").images
            chosen = torch.randperm(len(images), generator=generator)[:QUERIES_OF_LIARS]
            code = Calibrated(code, measure_moments(code, answer, images[chosen], seed=seed))
        test = data.load(dataset, "test")
        order = torch.randperm(len(test.labels), generator=generator)
        order = order[: len(order) // code.k * code.k].view(-1, code.k)
        shards = code.encode(test.images[order])
        results = [answer(shard).numpy() for shard in shards]
        return cls(model, code, results, test.labels[order].numpy())


def measure(
    case: Case, law: str, groups: int, *, batches: int, seed: int, locator: Locator = "own"
) -> dict[str, Any]:
    """One row: batches of `groups` coding groups, in each of which one slot lies.

    Args:
        case: code and results.
        law: of LAWS.
        groups: judged together.
        batches: drawn from the groups of the test set.
        seed: of batches, liars, lies, and who is asked again.
        locator: who judges.
    """
    code, n = case.code, case.code.n
    rng = np.random.default_rng(seed)
    injectors = [Injector(Faults(seed, corruption=LAWS[law]), f"worker-{i}") for i in range(n)]
    judge: Callable[[Results, Again], Verdict] = partial(JUDGES[locator], case.code)
    decoder = code.code if locator == "rational" and isinstance(code, Calibrated) else code
    before: Results = [result[-groups:] for result in case.results]
    seen: dict[str, list[float]] = {}
    largest_error = 0.0  # of an answer, over the largest one of its batch
    for number in range(batches):
        rows = rng.choice(len(case.truth), groups, replace=False)
        honest = [result[rows] for result in case.results]
        liar = int(rng.integers(n))
        told = list(honest)
        lies = partial(injectors[liar].corrupt, number)
        (told[liar],) = lies([honest[liar]], [before[liar]])
        asked = np.random.default_rng((seed, number))
        verdict = judge(told, partial(_said, honest, before, liar, lies, asked))
        alarmed = judge(honest, partial(_said, honest, before, None, lies, asked))
        before = honest
        truth = case.truth[rows]
        row = {
            "located": verdict.named == (liar,) and not _is_used(verdict, liar, told[liar]),
            "innocent": bool(set(verdict.named) - {liar}),
            "false_alarms": bool(alarmed.named),
            "accuracy_honest": _accuracy(decoder, alarmed.results, alarmed.accused, truth),
            "accuracy_lost": _accuracy(decoder, honest, (liar,), truth),
            "accuracy_liar": _accuracy(decoder, verdict.results, verdict.accused, truth),
            "accuracy_undefended": _accuracy(decoder, told, (), truth),
            "again_honest": alarmed.asked,
            "again_liar": verdict.asked,
        }
        error = _error(decoder, verdict.results, verdict.accused, honest)
        largest_error = max(largest_error, error)
        for name, value in row.items():
            seen.setdefault(name, []).append(float(value))
    means = {name: float(np.mean(values)) for name, values in seen.items()}
    return {
        "table": "liars", "model": case.model, "code": str(code), "k": code.k, "n": n,
        "locator": locator, "errors": 1, "groups": groups, "law": law,
        "batches": batches, "seed": seed, **means, "largest_error": largest_error, **provenance(),
    }  # fmt: skip


def measure_all(
    store: Store, workers: Sequence[int], groups: Sequence[int], batches: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Every row: calibrated Berrut at k = 8 on MNIST, and exact Lagrange at R + 2 on digits."""
    _provide(store)
    for n in workers:
        case = Case.of("mnist-lenet", codes.make("berrut", k=8, n=n), store, seed)
        for g in groups:
            for law in ("noise 10", "noise 100", "sign flip", "another's"):
                row = partial(measure, case, law, g, seed=seed)
                yield row(batches=batches)
                yield row(batches=batches, locator="twice")
                if n >= 2 * (8 + 1) - 1:  # else its fit is not unique
                    yield row(batches=batches // 4, locator="rational")
    for k in (3, 8):
        fewest = Lagrange(k, 256, 2).recovery_threshold + 2
        case = Case.of("digits-squares", Lagrange(k, fewest, 2), store, seed)
        for law in LAWS:
            yield measure(case, law, 1, batches=batches, seed=seed)


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A record as a row of the table."""
    shares = ("located", "innocent", "false_alarms")
    rates = ("accuracy_honest", "accuracy_lost", "accuracy_liar", "accuracy_undefended")
    return (
        row["code"].partition("(")[0].lower(), row["locator"], row["n"], row["groups"],
        row["law"], row["batches"],
        *(f"{100 * row[name]:.1f} %" for name in shares),
        *(f"{row[name]:.4f}" for name in rates),
        f"{row['largest_error']:.0e}",
        *(f"{row[name]:.2f}" for name in ("again_honest", "again_liar")),
    )  # fmt: skip


def _provide(store: Store) -> None:
    """Train the two models where the store has none."""
    if "mnist-lenet" not in store.names():
        train_and_store("mnist", "lenet", store=store, epochs=4)
    if "digits-squares" not in store.names():
        options = {"hidden": (32,), "activation": "square"}
        train_and_store("digits", "mlp", store=store, name="digits-squares", options=options)


def _is_used(verdict: Verdict, slot: int, result: np.ndarray) -> bool:
    """Whether this result of a slot is decoded from."""
    return slot not in verdict.accused and np.array_equal(verdict.results[slot], result)


def _said(
    honest: Results,
    before: Results,
    liar: int | None,
    lies: Callable[[Results, Results], Results],
    rng: np.random.Generator,
    slot: int,
) -> tuple[int, np.ndarray]:
    """Another worker, each with the same chance, and what it says to this slot's shard."""
    other = int(rng.choice([worker for worker in range(len(honest)) if worker != slot]))
    if other != liar:
        return other, honest[slot]
    (lie,) = lies([honest[slot]], [before[slot]])
    return other, lie


def _accuracy(code: Code, results: Results, without: Sequence[int], truth: np.ndarray) -> float:
    return float((_decoded(code, results, without).argmax(-1) == truth).mean())


def _error(code: Code, told: Results, without: Sequence[int], honest: Results) -> float:
    right = _decoded(code, honest, ())
    return float(np.abs(_decoded(code, told, without) - right).max() / np.abs(right).max())


def _decoded(code: Code, results: Results, without: Sequence[int]) -> np.ndarray:
    slots = [s for s in range(code.n) if s not in without and np.isfinite(results[s]).all()]
    decoded: np.ndarray = code.decode(tensors([results[slot] for slot in slots]), slots).numpy()
    return decoded


def _answer(program: Program, queries: torch.Tensor) -> torch.Tensor:
    parts = [queries[i : i + ROWS_AT_ONCE] for i in range(0, len(queries), ROWS_AT_ONCE)]
    return torch.cat([program([part])[0] for part in parts])
