"""Whom `Assignment` chooses, against the rule itself, which looks at every worker each time."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.assignment import FORGIVENESS, LATE_TIMES, Assignment
from master.ranking import FEW, Ranking

NAMES = [f"w{number}" for number in range(9)]
NAME = st.sampled_from(NAMES)
SOME = st.sets(NAME)
STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["join", "join", "drain", "freeze", "quarantine", "leave", "done"]),
        NAME,
    ),
    st.tuples(st.just("observe"), NAME, st.booleans()),
    st.tuples(st.just("assign"), st.integers(1, len(NAMES) + 1)),
    st.tuples(st.just("another"), SOME, SOME),
)


class Plain:
    """The live workers in turn: a list, and what `Assignment` knows of each."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.out: Counter[str] = Counter()
        self.sends: dict[str, int] = {}  # of known workers
        self.lateness: dict[str, float] = {}

    def join(self, name: str) -> None:
        if name not in self.sends:
            self.sends[name] = min((self.sends[live] for live in self.order), default=0)
            self.lateness[name] = 0.0
        if name not in self.order:
            self.order.append(name)

    def rest(self, name: str) -> None:
        if name in self.order:
            self.order.remove(name)

    def forget(self, name: str) -> None:
        self.sends.pop(name, None)

    def assign(self, n: int) -> list[str]:
        chosen = sorted(self.order, key=self.wait)[:n]
        for name in self.order[:1]:
            self.lateness[name] *= FORGIVENESS ** len(self.order)
        self.order = self.order[1:] + self.order[:1]
        return chosen

    def another(self, *avoided: set[str]) -> str | None:
        for exclude in (*avoided, set[str]()):
            fresh = [name for name in self.order if name not in exclude]
            if fresh:
                return min(fresh, key=lambda x: (self.wait(x), self.sends[x]))
        return None

    def wait(self, name: str) -> int:
        return round(10 * (self.out[name] + 1) * (1 + LATE_TIMES * self.lateness[name]))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(STEPS, min_size=10, max_size=80))
def test_it_chooses_as_if_it_looked_at_every_worker(steps: list[tuple[object, ...]]) -> None:
    assignment, plain = Assignment(), Plain()
    gone: set[str] = set()
    for worker in NAMES[:5]:
        assignment.join(worker)
        plain.join(worker)
    for step in steps:
        match step:
            case ("assign", int(n)):
                slots = assignment.assign(n)
                chosen = plain.assign(n)
                assert slots == (*chosen, *[None] * (n - len(chosen)))
                for name in chosen:
                    plain.out[name] += 1
                    plain.sends[name] += 1
                    assignment.sent(name)
            case ("another", set(taken), set(late)):
                another = assignment.another(taken, late)
                assert another == plain.another(taken, late)
                if another is not None:
                    plain.out[another] += 1
                    plain.sends[another] += 1
                    assignment.sent(another)
            case ("done", str(name)):
                if plain.out[name]:
                    assignment.done(name)
                    plain.out[name] -= 1
            case ("observe", str(name), bool(was_late)):
                for _ in range(7):  # so many make a punctual worker a late one
                    assignment.observe(name, was_late)
                    if name in plain.sends:
                        plain.lateness[name] = 0.9 * plain.lateness[name] + (1 - 0.9) * was_late
            case ("join", str(name)):
                assignment.join(name)
                plain.join(name)
                gone.discard(name)
            case (str(call), str(name)):
                if name in plain.sends and call == "leave":
                    gone.add(name)
                getattr(assignment, call)(name)
                plain.rest(name)
        for name in [name for name in gone if not plain.out[name]]:
            plain.forget(name)
            gone.discard(name)
        assignment.check()


def test_what_a_ranking_has_outdated_does_not_grow() -> None:
    """Where only others come up: an entry that lies deep would never be met and dropped."""
    ranking = Ranking()
    ranking.put("first", (0,))
    for turn in range(10 * FEW):
        ranking.put("busy", (1 + turn % 2,))
        assert ranking.least(1) == ["first"]
    assert len(ranking._heap) <= 2 * 2 + FEW


def test_a_ranking_tells_each_name_once() -> None:
    """A key that comes back is in the heap twice."""
    ranking = Ranking()
    for key in (1, 2, 1, 3, 1):
        ranking.put("a", (key,))
    ranking.put("b", (2,))
    assert [ranking.least(3), ranking.least(1, {"a"}), ranking.least(3)] == [
        ["a", "b"],
        ["b"],
        ["a", "b"],
    ]
    ranking.drop("a")
    ranking.drop("nobody")
    assert ranking.least(3) == ["b"]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_empty_ranking_has_nothing(count: int) -> None:
    assert Ranking().least(count) == []
