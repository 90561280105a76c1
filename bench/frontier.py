"""Split networks with side information, beside the approximate backup: what each idea gives.

On the networks of the table `cuts`, trained or found in the store: the answers as they are decoded,
with a calibrated read-out, and together with a student's estimates, which the decoder sees whoever
responds. Everything that is fitted is fitted on the validation split. The backup has the same
student in its extra slots. All systems are asked the same groups of the test set.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.bases import Bar, Provided, provide_base, provide_code
from bench.cuts.table import CutsTable, Row
from bench.lagrange.plan import Helper
from bench.lagrange.systems import first_images
from bench.lagrange.trained import split_plan
from bench.records import provenance
from codes.backup import STUDENT, Backup
from codes.base import Code
from codes.calibrated import Calibrated, measure_moments
from codes.moments import Moments, take_moments
from codes.replication import Replication
from codes.split_lagrange import SplitLagrange
from models.cards import proportion
from models.data import DataSet
from models.store import Store
from training.basis import Basis
from training.codes import CodePlan, networks_within
from training.measure import Answered, ask, responders

TITLES = (
    "model, cut", "n, lost", "idea", "overall, mean / worst (95 %)", "above the backup, points",
    "cost of a group", "of it at the master",
)  # fmt: skip
RIDGE = 1e-4  # of the calibrated read-out, as of `codes.calibrated`
STEPS = 60  # of the fit of two weights: it has long come to rest
Decode = Callable[[tuple[int, ...]], Tensor]  # responders to answers [g, k, classes]


@dataclass(frozen=True)
class Part:
    """A split of a data set, asked.

    Attributes:
        answered: the coded slots' results.
        estimates: the student's, [g, k, classes].
    """

    answered: Answered
    estimates: Tensor

    @property
    def labels(self) -> Tensor:
        """True classes, [g, k]."""
        return self.answered.labels[self.answered.groups]

    @property
    def answers(self) -> Tensor:
        """The base model's, [g, k, classes]."""
        return self.answered.truth[self.answered.groups]

    def decoded(self, slots: tuple[int, ...]) -> Tensor:
        """By the code's own decoder, [g, k, classes]."""
        results = [self.answered.results[slot] for slot in slots]
        return self.answered.code.decode(results, slots)


def run(
    table: CutsTable, pattern: str, helper: Helper, losses: Sequence[int], store: Store, bar: Bar
) -> Iterator[dict[str, Any]]:
    """Records of all ideas for the table's rows that match.

    Args:
        table: of cuts.
        pattern: of its rows.
        helper: how the student is trained.
        losses: numbers of lost slots; each with as many extra ones.
        store: for what is trained, or found there.
        bar: called with a title; shows progress.
    """
    for row in table.rows(pattern):
        base = provide_base(row.model, row.base, row.seed, store, bar)
        split = provide_code(split_plan(row.k, row.split, row.seed), base, store, bar)
        student = provide_code(_student_plan(row, helper, base), base, store, bar)
        for lost in losses:
            yield from _ideas(row, lost, split, student, base)


def _student_plan(row: Row, helper: Helper, base: Basis) -> CodePlan:
    return CodePlan(
        code=Backup.name,
        k=row.k,
        student=networks_within(base, Backup.name, row.k, 1)["student"],
        seed=row.seed,
        epochs=helper.epochs,
        recipe=helper.recipe,
    )


def _ideas(
    row: Row, lost: int, split: Provided, student: Provided, base: Basis
) -> Iterator[dict[str, Any]]:
    n = row.k + lost
    test = first_images(base.test, row.images)
    assert isinstance(split.code, SplitLagrange)
    coded = replace(split.code, n=n)
    systematic = replace(coded, systematic=True, dimension=None)
    stem, trunk = float(split.card.stem_cost or 0), float(split.card.cost or 0)
    extra = float(student.card.cost or 0)
    plain, own = row.k * stem + n * trunk, row.k + row.k * stem + lost * trunk
    at_master = row.k * stem
    backup = Backup(row.k, n)
    whole = ask(backup, student.modules, test, seed=row.seed)
    floor = _by_set(backup, lost, whole, lambda slots: backup.decode(
        [whole.results[slot] for slot in slots], slots))  # fmt: skip
    copies = Replication(row.k, n)
    copied = ask(copies, student.modules, test, seed=row.seed)
    yield _record(row, n, lost, "replication", n, 0.0, _of_copies(copies, copied, lost), floor)
    yield _record(row, n, lost, "backup", row.k + lost * extra, 0.0, floor, floor)
    for code, cost, name in ((coded, plain, "split"), (systematic, own, "systematic split")):
        part = _asked(code, split, student, test, row)
        learning = _asked(code, split, student, base.validation, row)
        mixing = _Mixing(learning)
        moments = _moments(learning)
        calibrated = Calibrated(code, measure_moments(code, split.modules, base.validation.images))
        ideas: dict[str, tuple[Decode, float]] = {
            "": (part.decoded, 0.0),
            ", calibrated": (partial(_calibrated, part, calibrated), 0.0),
            ", student's estimates, calibrated": (partial(_estimated, part, moments), extra),
            ", student's estimates, weighed": (partial(mixing.of, part), extra),
        }
        for idea, (decode, more) in ideas.items():
            found = _by_set(code, lost, part.answered, decode)
            yield _record(row, n, lost, name + idea, cost + more, at_master + more, found, floor)


def _asked(
    code: SplitLagrange, split: Provided, student: Provided, dataset: DataSet, row: Row
) -> Part:
    answered = ask(code, split.modules, dataset, seed=row.seed)
    queries = dataset.images[answered.groups]
    with torch.inference_mode():
        pieces = [student.modules[STUDENT](piece) for piece in torch.split(queries, 250)]
    return Part(answered, torch.cat(pieces).clone())


def _moments(part: Part) -> Moments:
    """Of the slots' results and, as further rows, the student's estimates."""
    rows = [*part.answered.results, *part.estimates.unbind(1)]
    return take_moments(part.answers.double().numpy(), torch.stack(rows, 1).double().numpy())


def _calibrated(part: Part, code: Calibrated, slots: tuple[int, ...]) -> Tensor:
    return code.decode([part.answered.results[slot] for slot in slots], slots)


def _estimated(part: Part, moments: Moments, slots: tuple[int, ...]) -> Tensor:
    """The best affine estimate from responders and student; own answers stay."""
    n, k = part.answered.code.n, part.answered.code.k
    chosen = [*slots, *range(n, n + k)]
    ridge = RIDGE * float(np.diag(moments.result_cov).mean())
    within = moments.result_cov[np.ix_(chosen, chosen)] + ridge * np.eye(len(chosen))
    decoder = np.linalg.solve(within, moments.cross_cov[:, chosen].T).T
    bias = moments.answer_mean - np.tensordot(decoder, moments.result_mean[chosen], 1)
    rows = [*(part.answered.results[slot] for slot in slots), *part.estimates.unbind(1)]
    given = torch.einsum("ks,sgc->gkc", torch.from_numpy(decoder).float(), torch.stack(rows))
    return _with_own(part, slots, given + torch.from_numpy(bias).float())


def _with_own(part: Part, slots: tuple[int, ...], given: Tensor) -> Tensor:
    kept = given.clone()
    for j, own in enumerate(part.answered.code.own_slots):
        for slot in set(own) & set(slots):
            kept[:, j] = part.answered.results[slot]
    return kept


class _Mixing:
    """Logarithms of the decoded and of the student's probabilities, added with two weights that are
    fitted to the labels, for each set of responders."""

    def __init__(self, learning: Part) -> None:
        self._learning = learning

    def of(self, part: Part, slots: tuple[int, ...]) -> Tensor:
        """The weighed answers, [g, k, classes]; own answers stay."""
        one, other = self._two(self._learning, slots)
        is_lost = self._lost(slots)
        weights = torch.ones(2, requires_grad=True)
        fit = torch.optim.LBFGS([weights], max_iter=STEPS)
        truth = self._learning.labels[:, is_lost].flatten()

        def closure() -> Tensor:
            fit.zero_grad()
            mixed = weights[0] * one[:, is_lost] + weights[1] * other[:, is_lost]
            loss = cross_entropy(mixed.flatten(0, 1), truth)
            torch.autograd.backward(loss)
            return loss

        fit.step(closure)  # type: ignore[no-untyped-call]
        first, second = weights.detach()
        one, other = self._two(part, slots)
        return _with_own(part, slots, first * one + second * other)

    def _lost(self, slots: tuple[int, ...]) -> list[int]:
        own_slots = self._learning.answered.code.own_slots
        return [j for j, own in enumerate(own_slots) if not set(own) & set(slots)] or [0]

    def _two(self, part: Part, slots: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        return part.decoded(slots).log_softmax(-1), part.estimates.log_softmax(-1)


def _by_set(code: Code, lost: int, answered: Answered, decode: Decode) -> Tensor:
    """Which answers are right, [sets, g, k], for every set of responders of the size."""
    labels = answered.labels[answered.groups]
    return torch.stack(
        [(decode(slots).argmax(-1) == labels).float() for slots in responders(code, lost)]
    )


def _of_copies(code: Replication, answered: Answered, lost: int) -> Tensor:
    """The same for replication, where an answer that nobody gives is a guess."""
    labels = answered.labels[answered.groups]
    right = (answered.truth[answered.groups].argmax(-1) == labels).float()
    guess = 1 / answered.truth.shape[-1]
    found = []
    for slots in responders(code, lost):
        missing = [j for j, own in enumerate(code.own_slots) if not set(own) & set(slots)]
        share = right.clone()
        share[:, missing] = guess
        found.append(share)
    return torch.stack(found)


def _record(
    row: Row, n: int, lost: int, idea: str, cost: float, at_master: float, right: Tensor,
    backup: Tensor,
) -> dict[str, Any]:  # fmt: skip
    queries = right[0].numel()
    by_query = right.mean(0).flatten() - backup.mean(0).flatten()
    deviation = float(by_query.std()) / queries**0.5
    mean, above = float(right.mean()), float(by_query.mean())
    return {
        "table": "frontier",
        "row": f"{row.name}.n{n}.{idea}",
        "model": row.model,
        "dataset": row.base.dataset,
        "cut": row.split.cut,
        "epochs": row.split.epochs,
        "k": row.k,
        "n": n,
        "lost": lost,
        "idea": idea,
        "overall": round(mean, 5),
        "worst": round(float(right.mean((1, 2)).min()), 5),
        "interval": [round(end, 5) for end in proportion(round(mean * queries), queries).interval],
        "above_backup": round(above, 5),
        "above_interval": [round(above + side * 1.96 * deviation, 5) for side in (-1, 1)],
        "cost": round(cost, 3),
        "at_master": round(at_master, 3),
        "groups": right.shape[1],
        "seed": row.seed,
        **provenance(),
    }


def cells(record: dict[str, Any]) -> tuple[str, ...]:
    """A record as text, under `TITLES`."""
    low, high = record["interval"]
    least, most = record["above_interval"]
    above = f"{100 * record['above_backup']:+.2f} ({100 * least:+.2f} to {100 * most:+.2f})"
    overall, worst = 100 * record["overall"], 100 * record["worst"]
    return (
        f"{record['model']}, {record['cut']}",
        f"{record['n']}, {record['lost']}",
        record["idea"],
        f"{overall:.1f} / {worst:.1f} ({100 * low:.1f}–{100 * high:.1f})",
        "–" if record["idea"] == "backup" else above,
        f"{record['cost']:.2f}",
        f"{record['at_master']:.2f}",
    )
