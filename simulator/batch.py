"""One coded batch in virtual time: `gather`'s commands obeyed, as `master/scatter.py` does.

It decides nothing: `gather` says what is sent and answered, the cluster who gets it.
"""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from master.assignment import LATE_FACTOR
from master.batcher import Plan
from master.events import Answer, Cancel, Command, Event, Fail, Lost, Replied, Send, Tick
from master.gains import mask
from master.gather import Gather
from master.policy import reply_margin_s
from simulator.requests import Request
from simulator.worker import Task, Worker

if TYPE_CHECKING:
    from simulator.cluster import Cluster


class Batch:
    """g coding groups on their way.

    Args:
        plan: of the batcher.
        cluster: around it.
    """

    def __init__(self, plan: Plan, cluster: "Cluster") -> None:
        setting = cluster.setting
        self._plan = plan
        self._cluster = cluster
        self._engine = cluster.engine
        self._q, self._roles = setting.code.q, setting.code.roles
        self._sent = cluster.slots
        self._open: dict[int, list[Task]] = {}  # by slot
        self._timer = inf  # when the next tick is due that the engine knows of
        self._cell: list[Batch] = []  # what the engine holds for it; emptied when it is over
        self._is_over = False
        self._lasted: list[tuple[float, bool]] = []  # seconds, and whether it replied then
        self._places = _places(plan, setting.code.q, cluster.requests)
        self._gather: Gather  # from when it leaves
        self._late_after_s = inf
        self._first_choice: Sequence[Worker | None] = ()

    def start(self) -> None:
        """Through the stem, where there is one; then send what is sent at once."""
        if self._cluster.setting.stem:
            self._engine.at(self._cluster.after_stem(), self._leave)
        else:
            self._leave(None)

    def _leave(self, _: Any) -> None:
        if self._is_over:
            return
        plan, cluster = self._plan, self._cluster
        now, policy = self._engine.now, cluster.policy
        allowed_s = plan.earliest_deadline - plan.oldest_arrival
        self._gather = Gather(
            code=cluster.gains,
            policy=policy,
            wanted=cluster.wanted(min(self._q, plan.rows)),
            started=now,
            moments=(
                cluster.adaptive.moments(
                    now, policy.soft_deadline.at(cluster.latency), cluster.queue
                )
                if policy.wait == "adaptive"
                else policy.moments(cluster.latency, now)
            ),
            impatient_at=plan.earliest_deadline - reply_margin_s(allowed_s),
            deadline=plan.latest_deadline,
        )
        median_s = cluster.latency.quantile(0.5)
        self._late_after_s = inf if median_s is None else LATE_FACTOR * median_s
        self._first_choice = cluster.choose(self._sent)
        self._obey(self._gather.start(now))
        if policy.wait == "adaptive":
            self._sent = 0  # other slots go to whoever has the least to do then

    @property
    def is_wanted(self) -> bool:
        """Whether any of its requests still waits."""
        return any(not request.is_done for places in self._places for request, _ in places)

    def abandon(self) -> None:
        """Nobody waits any more."""
        self._cancel(list(self._open))
        self._finish()

    def _on(self, event: Event) -> None:
        if not self._is_over:
            self._obey(self._gather.on(event, self._engine.now))

    def _obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Send(slot, attempt):
                    if not self._send(slot, attempt):
                        self._engine.at(self._engine.now, self._on, Lost(slot))
                case Cancel(slots):
                    self._cancel(slots)
                case Answer(answers, slots, direct):
                    self._answer(answers, slots, direct)
                case Fail(answers):
                    for j in answers:
                        for request, rows in self._places[j % self._q]:
                            request.failed(rows, self._engine.now)
        if self._is_over:
            return
        if self._gather.is_done:
            self._finish()
            return
        due = self._gather.next_due()
        if due is not None and due < self._timer:
            self._set_timer(due)

    def tick(self) -> None:
        """Time has passed; perhaps not enough, since dues move while the engine is not told."""
        self._timer = inf
        due = self._gather.next_due()
        if due is not None and due > self._engine.now:
            self._set_timer(due)
        else:
            self._on(Tick())

    def _set_timer(self, due: float) -> None:
        self._cell.clear()
        self._timer, self._cell = due, [self]
        self._engine.at(due, _tick, self._cell)

    def _send(self, slot: int, attempt: int) -> bool:
        is_first = attempt == 0 and slot < self._sent  # spares are sent later
        has_choice = is_first and self._first_choice
        worker = self._first_choice[slot] if has_choice else self._another(slot)
        if worker is None:
            return False
        plan = self._plan
        now = self._engine.now
        task = Task(
            slot,
            self._roles[slot],
            plan.groups,
            plan.latest_deadline,
            now,
            self._ended,
            self._released,
            worker,
            self._cluster.factors[slot],
        )
        self._open.setdefault(slot, []).append(task)
        self._cluster.sent(worker, plan.groups, not is_first)
        worker.submit(task)
        return True

    def _another(self, slot: int) -> Worker | None:
        taken = {task.worker.name for tasks in self._open.values() for task in tasks}
        late = {task.worker.name for task in self._open.get(slot, ())}
        return self._cluster.another(taken, late)

    def _cancel(self, slots: Sequence[int]) -> None:
        now = self._engine.now
        for slot in slots:
            for task in self._open.pop(slot, ()):
                if now - task.sent_at > self._late_after_s:
                    self._cluster.observe(task.worker, was_late=True)
                self._lasted.append((now - task.sent_at, False))
                task.worker.cancel(task)

    def _ended(self, task: Task, has_result: bool) -> None:
        overhead_s = self._cluster.overhead()
        end = (task, has_result)
        if overhead_s:
            self._engine.at(self._engine.now + overhead_s, self._heard, end)
        else:
            self._heard(end)

    def _released(self, task: Task) -> None:
        """Nothing of a cancelled task runs any more."""
        self._cluster.done(task.worker)

    def _heard(self, end: tuple[Task, bool]) -> None:
        task, has_result = end
        self._cluster.done(task.worker)
        if task.is_cancelled:
            return
        self._open[task.slot].remove(task)
        if self._is_over:
            return
        if not has_result:
            self._on(Lost(task.slot))
            return
        took_s = self._engine.now - task.sent_at
        self._cluster.latency.add(took_s)
        self._lasted.append((took_s, True))
        self._cluster.observe(task.worker, took_s > self._late_after_s)
        self._on(Replied(task.slot))

    def _answer(self, answers: Sequence[int], slots: Sequence[int], direct: bool) -> None:
        now = self._engine.now
        gains = None if direct else self._cluster.gains.of(mask(slots))
        for j in answers:
            gain = 0.0 if gains is None else gains[j]
            for request, rows in self._places[j % self._q]:
                request.answered(rows, gain, now)

    def _finish(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._cell.clear()
            self._cluster.adaptive.ended(self._lasted)
            self._cluster.landed(self)


def _tick(cell: list[Batch]) -> None:
    if cell:
        cell[0].tick()


def _places(
    plan: Plan, q: int, requests: dict[int, Request]
) -> tuple[list[tuple[Request, int]], ...]:
    """Whose rows are query 0..q-1 of the groups, and how many of each request."""
    places: tuple[list[tuple[Request, int]], ...] = tuple([] for _ in range(min(q, plan.rows)))
    position = 0
    for number, start, stop in plan.segments:
        request, rows = requests[number], stop - start
        for b in range(min(q, rows)):
            count = (rows - b - 1) // q + 1
            places[(position + b) % q].append((request, count))
        position += rows
    return places
