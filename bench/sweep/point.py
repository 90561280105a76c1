"""Measures the systems of a plan at one point of it, in turns, on a cluster that runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import kofn
from bench.load.arrivals import choose, poisson
from bench.load.process import LoadProcess
from bench.records import provenance
from bench.sweep.figures import Taken, Truth, measured
from bench.sweep.laws import mean_ms
from bench.sweep.plan import Plan, Point, System
from bench.sweep.record import Record
from bench.sweep.subjects import Subject, about
from models.cards import Metric, proportion

CLEAN_S = 30.0
CLEAN_ROWS = 256  # of a request, when nothing is timed
WARM_REQUESTS = 40  # twice what a policy's quantiles need before they mean anything


@dataclass(frozen=True, eq=False)
class Task:
    """What all systems of a plan are asked.

    Attributes:
        plan: of it.
        images: [m, *query] float32, those that are asked for.
        truth: of these.
        load: the generator.
        marks: "table", "run" and "command" of the records, and "published" where there is.
        step: called after each turn of a system, with what was done.
    """

    plan: Plan
    images: npt.NDArray[np.float32]
    truth: Truth
    load: LoadProcess
    marks: dict[str, Any]
    step: Callable[[str], None] = lambda says: None
    cleans: dict[tuple[int, str], Metric | None] = field(default_factory=dict)

    async def clean(self, subject: Subject, workers: int) -> Metric | None:
        """Accuracy over all images, nothing lost; None where the system gives not every answer.

        Measured once for each number of workers.
        """
        key = workers, subject.system.name
        if key not in self.cleans:
            self.cleans[key] = await self._clean(subject)
        return self.cleans[key]

    async def _clean(self, subject: Subject) -> Metric | None:
        hits = 0
        async with kofn.AsyncClient(subject.server.target) as client:
            for start in range(0, len(self.images), CLEAN_ROWS):
                part = slice(start, start + CLEAN_ROWS)
                answers = await client.infer(
                    subject.server.model, self.images[part], wait="all", timeout_s=CLEAN_S
                )
                hits += int((answers.outputs.argmax(axis=1) == self.truth.labels[part]).sum())
        return proportion(hits, len(self.images))


async def measure(
    task: Task, point: Point, subjects: Sequence[Subject], failures: dict[str, str]
) -> list[Record]:
    """All systems at a point; its dead workers are dead.

    Args:
        point: where.
        subjects: those that could be deployed; their clean accuracies are known.
        failures: systems of this point that could not, and why; those that fail are added.
    """
    text = task.plan.text
    taken: dict[str, list[Taken]] = {subject.system.name: [] for subject in subjects}
    for turn in range(-1, text.turns):  # the first is to warm up
        first = turn % max(1, len(subjects))
        for subject in (*subjects[first:], *subjects[:first]):
            name = subject.system.name
            if name in failures:
                continue
            try:
                found = await _turn(task, point, subject, turn)
            except kofn.KofnError as error:
                failures[name] = f"{error.status.name}: {error}"
                continue
            if turn >= 0:
                taken[name].append(found)
                task.step(f"{point.name}: {name}, turn {turn + 1} of {text.turns}")
    return [
        _record(task, point, system, taken.get(system.name, []), failures.get(system.name, ""))
        for system in task.plan.systems(point.workers)
    ]


async def _turn(task: Task, point: Point, subject: Subject, turn: int) -> Taken:
    """One load, from its own arrivals, which are the same for all systems of a turn."""
    text = task.plan.text
    seed = text.seed + max(turn, 0)
    rate = point.load / text.rows
    if turn < 0:
        times = np.arange(WARM_REQUESTS) / rate
    else:
        times = poisson(rate, text.seconds, seed)
        times = times if len(times) else np.zeros(1)
    requests = choose(len(task.images), len(times), text.rows, seed)
    straggler = text.stragglers[point.straggler]
    await task.load.prepare(subject.asked(straggler, seed), task.images, requests, times)
    async with subject.disturbed(straggler, seed):
        before = await subject.counters()
        seen = await task.load.run()
        asked = await subject.counters()  # what follows costs the master, too
    await subject.settle()
    spent = asked - before
    spent = replace(spent, busy_s=(await subject.counters()).busy_s - before.busy_s)
    master_mib, worker_mib = await subject.memory_mib()
    return Taken(seen, spent, master_mib, worker_mib)


def _record(
    task: Task, point: Point, system: System, taken: Sequence[Taken], failure: str
) -> Record:
    text, told = task.plan.text, about(system)
    faults = text.stragglers[point.straggler]
    found = None
    if not failure:
        found = measured(
            taken, task.truth, told.sizes, task.cleans.get((point.workers, system.name)),
            alive=point.workers - point.lost, seconds=text.seconds,
        )  # fmt: skip
    return Record(
        plan=text.name,
        plan_hash=task.plan.hash,
        point=point.name,
        system=system.name,
        family=system.family,
        kind="baseline" if system.text.baseline else "coded",
        title=system.text.title or system.name,
        dataset=text.dataset,
        model=text.model,
        code=told.code,
        code_name=told.code_name,
        k=told.sizes.k,
        n=told.sizes.n,
        recovery_threshold=told.recovery_threshold,
        policy=told.policy,
        faults=faults.model_dump(mode="json", exclude_none=True, exclude={"seed"}),
        straggler=point.straggler,
        service_ms=mean_ms(faults),
        workers=point.workers,
        lost=point.lost,
        offered_qps=point.load,
        request_rows=text.rows,
        deadline_ms=text.deadline_ms,
        backend=text.backend,
        seed=text.seed,
        seconds=text.seconds * text.turns,
        measured=found,
        failure=failure,
        **task.marks,
        **provenance(),
    )
