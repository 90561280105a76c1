"""How well liars are found, and what they cost: `python -m bench liars`.

Offline, over the test set, with programs run as workers run them and results corrupted by the
fault injector's own laws; the code, its moments, its locator and the master's questions are those
that serve.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch

import codes
from bench.rational import rational_suspects
from bench.records import provenance
from codes.base import Code
from codes.berrut import Berrut
from codes.calibrated import Calibrated, measure_moments
from codes.lagrange import Lagrange
from codes.locating import Doubts, LocatesErrors, TooManyErrors
from codes.moments import ROWS_AT_ONCE
from master.config import QUERIES_OF_LIARS
from master.events import Judge
from master.gains import Gains, bits, mask
from master.policy import Policy
from master.results import same
from master.screening import Screen
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
AGAIN = Policy().recheck

Results = list[np.ndarray]  # by slot: float32 [groups, answer]
Again = Callable[[int], tuple[int, np.ndarray]]  # of a slot: who is asked again, and says what
# "own": the code's; "twice": so are results in doubt, of another worker; "rational": the published
# one, which drops one slot in any case, with Berrut's own decoder.
Locator = Literal["own", "twice", "rational"]


@dataclass(frozen=True)
class Verdict:
    """What came of a batch's results.

    Attributes:
        results: to decode from, those of `accused` slots left out.
        accused: slots whose result was found to be wrong.
        asked: results that were asked for again.
        found: slots whose worker lied, as a second result told.
    """

    results: Results
    accused: tuple[int, ...]
    asked: int = 0
    found: tuple[int, ...] = ()

    @property
    def named(self) -> tuple[int, ...]:
        """Slots whose workers are known to have lied."""
        return (*self.found, *self.accused)


@dataclass(frozen=True)
class Case:
    """A code over a model, its results on the test set, and what is right."""

    model: str
    code: LocatesErrors
    results: Results  # of all groups
    truth: np.ndarray  # [groups, k], labels

    @cached_property
    def gains(self) -> Gains:
        """Of the code, remembered."""
        return Gains(self.code)

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
    judge: Callable[[Results, Again], Verdict] = partial(JUDGES[locator], case)
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
            "located": verdict.named == (liar,),
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


def _located(case: Case, results: Results, again: Again) -> Verdict:
    broken = _broken(results)
    if broken:
        return Verdict(results, broken)
    try:
        return Verdict(results, case.code.locate(_tensors(results), range(case.code.n), 1))
    except TooManyErrors:
        return Verdict(results, ())


def _located_twice(case: Case, results: Results, again: Again) -> Verdict:
    """By the master's own questions, as long as nobody is late."""
    code, results, found, asked = case.code, list(results), list[int](), 0
    if _broken(results):
        return Verdict(results, _broken(results))
    assert isinstance(code, Doubts)
    screen, came = Screen(case.gains, 1, rechecks=True), mask(range(code.n))
    while not screen.is_believed(came):
        slots, tensors = tuple(bits(came)), _tensors(results)
        question = screen.question(came, came)
        if isinstance(question, Judge):
            lied = code.locate(tensors, slots, question.most, question.sure)
            screen.take(came, mask(lied))
            came &= ~mask(lied)
        elif (slot := code.doubt(tensors, slots, AGAIN, question.settled)) is None:
            screen.take(came, 0)
        else:
            screen.recheck(slot)
            asked += 1
            first, (other, second) = results[slot], again(slot)
            if differs := not same(first, second):
                fits = code.misfit(tensors, slots, slot)
                results[slot] = second
                is_better = code.misfit(_tensors(results), slots, slot) < fits
                results[slot] = second if is_better else first
                found.append(slot if is_better else other)
            screen.settle(differs)
    accused = tuple(slot for slot in range(code.n) if not came >> slot & 1)
    return Verdict(results, accused, asked, tuple(found))


def _rational(case: Case, results: Results, again: Again) -> Verdict:
    code = case.code.code if isinstance(case.code, Calibrated) else case.code
    assert isinstance(code, Berrut)
    values = np.stack(results).astype(np.float64)
    return Verdict(results, rational_suspects(values, code.slot_points, code.k, 1))


def _broken(results: Results) -> tuple[int, ...]:
    """Slots whose results the master takes for no reply."""
    return tuple(slot for slot, result in enumerate(results) if not np.isfinite(result).all())


JUDGES: dict[Locator, Callable[[Case, Results, Again], Verdict]] = {
    "own": _located,
    "twice": _located_twice,
    "rational": _rational,
}


def _accuracy(code: Code, results: Results, without: Sequence[int], truth: np.ndarray) -> float:
    return float((_decoded(code, results, without).argmax(-1) == truth).mean())


def _error(code: Code, told: Results, without: Sequence[int], honest: Results) -> float:
    right = _decoded(code, honest, ())
    return float(np.abs(_decoded(code, told, without) - right).max() / np.abs(right).max())


def _decoded(code: Code, results: Results, without: Sequence[int]) -> np.ndarray:
    slots = [s for s in range(code.n) if s not in without and np.isfinite(results[s]).all()]
    decoded: np.ndarray = code.decode(_tensors([results[slot] for slot in slots]), slots).numpy()
    return decoded


def _tensors(results: Results) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(result)) for result in results]


def _answer(program: Program, queries: torch.Tensor) -> torch.Tensor:
    parts = [queries[i : i + ROWS_AT_ONCE] for i in range(0, len(queries), ROWS_AT_ONCE)]
    return torch.cat([program([part])[0] for part in parts])
