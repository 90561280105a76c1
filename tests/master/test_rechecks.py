"""Results in doubt are asked for again, of another worker: over real streams."""

import asyncio
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
import pytest

from master.results import Results
from support.scripted import ScriptedWorker, doubled
from support.serving import Serving, queries, serving, truth

K, SLOTS = 3, 8
CODE = {"name": "berrut", "k": K, "n": SLOTS, "calibrated": True}
WARY = {"liars": 1, "wait": "first"}


def workers(count: int, *liars: int) -> list[ScriptedWorker]:
    return [
        ScriptedWorker(f"w{i}", function=lying if i in liars else doubled) for i in range(count)
    ]


def lying(shard: np.ndarray) -> np.ndarray:
    return -doubled(shard)


def lies(live: Serving) -> dict[str, int]:
    """Found of each worker that lied."""
    found = {worker.name: live.pool.trust.lies(worker.address) for worker in live.workers}
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("recheck", [0.4, 0.98])
async def test_a_lie_is_replaced_by_what_another_worker_says(recheck: float) -> None:
    """All slots take part in the answer, the liar's too, though it is asked every time, and lies
    when it is to confirm another's result."""
    policy = {**WARY, "wait": "all", "recheck": recheck}
    async with serving(*workers(SLOTS, 2), code=CODE, policy=policy) as live:
        for seed in range(10):
            rows = queries(K, seed)
            request = await live.infer(rows)
            np.testing.assert_allclose(request.outputs, truth(rows), atol=0.02)
            assert set(request.responders.values()) == {tuple(range(SLOTS))}
        assert lies(live).keys() == {"w2"}
        assert lies(live)["w2"] >= 10
        assert live.deployment.statistics.tasks_resent >= 10
        scores = [live.pool.trust.score(worker.address) for worker in live.workers]
        assert [score < 0.5 for score in scores] == [i == 2 for i in range(SLOTS)]


async def test_a_spare_worker_takes_the_place_of_a_quarantined_liar() -> None:
    """One of nine has no slot in a batch: the liar, from its fourth lie on."""
    policy = {**WARY, "wait": "all"}
    async with serving(*workers(SLOTS + 1, 2), code=CODE, policy=policy) as live:
        for seed in range(12):
            await live.infer(queries(K, seed))
        liar = live.workers[2].address
        assert live.pool.trust.standing(liar) == "quarantined"
        assert lies(live).keys() == {"w2"}
        assert lies(live)["w2"] >= 4


async def test_whoever_lies_when_asked_to_confirm_is_found() -> None:
    """The first result stays, and the honest worker that it is of is not blamed."""
    seen: set[bytes] = set()

    def told_first(shard: np.ndarray) -> np.ndarray:
        seen.add(shard.tobytes())
        return doubled(shard)

    def lying_second(shard: np.ndarray) -> np.ndarray:
        return lying(shard) if shard.tobytes() in seen else told_first(shard)

    crew = [ScriptedWorker(f"w{i}", function=told_first) for i in range(SLOTS)]
    crew[2].function = lying_second
    policy = {**WARY, "wait": "all", "recheck": 0.98}
    async with serving(*crew, code=CODE, policy=policy) as live:
        for seed in range(40):
            rows = queries(K, seed)
            request = await live.infer(rows)
            np.testing.assert_allclose(request.outputs, truth(rows), atol=0.02)
        assert set(lies(live)) == {"w2"}


async def test_who_is_found_while_confirming_is_doubted_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An innocent is doubted first, and the liar asked: its own lie is replaced all the same."""
    async with serving(*workers(SLOTS, 2), code=CODE, policy={**WARY, "wait": "all"}) as live:
        liar, doubt, another = live.workers[2].address, Results.doubt, live.pool.assignment.another

        def innocent_first(
            results: Results, slots: Sequence[int], share: float, settled: Sequence[int]
        ) -> int | None:
            if settled:
                return doubt(results, slots, share, settled)
            return next(slot for slot in slots if results.workers[slot] != liar)

        def liar_first(*avoided: Collection[str]) -> str | None:
            return another(*avoided) if liar in avoided[-1] else liar

        monkeypatch.setattr(Results, "doubt", innocent_first)
        monkeypatch.setattr(live.pool.assignment, "another", liar_first)
        rows = queries(K)
        request = await live.infer(rows)
        np.testing.assert_allclose(request.outputs, truth(rows), atol=0.02)
        assert set(request.responders.values()) == {tuple(range(SLOTS))}
        assert lies(live) == {"w2": 2}


@pytest.mark.parametrize("outcome", ["hold", "fail"])
async def test_a_lie_that_nobody_confirms_is_judged_by_the_others(outcome: str) -> None:
    """The second worker is silent or fails: no answer waits for it, none is wrong."""
    crew = workers(SLOTS, 2)
    async with serving(*crew, code=CODE, policy={**WARY, "wait": "all"}) as live:
        for seed in range(4):  # so that it is known what is usual
            await live.infer(queries(K, seed))
        for worker in crew:
            done = len(worker.tasks)
            worker.script = lambda number, done=done: "reply" if number <= done else outcome
        rows, resent = queries(K), live.deployment.statistics.tasks_resent
        async with asyncio.timeout(5):
            request = await live.infer(rows, timeout_s=60)
        np.testing.assert_allclose(request.outputs, truth(rows), atol=0.05)
        assert lies(live) == {"w2": 5}
        assert live.deployment.statistics.tasks_resent > resent


async def test_a_worker_does_not_confirm_itself() -> None:
    """A single one for all slots, that lies once, and not when it is asked again."""
    number = iter(range(1000))

    def once(shard: np.ndarray) -> np.ndarray:
        return lying(shard) if next(number) == 3 else doubled(shard)

    async with serving(ScriptedWorker("w0", function=once), code=CODE, policy=WARY) as live:
        rows = queries(K)
        request = await live.infer(rows)
        np.testing.assert_allclose(request.outputs, truth(rows), atol=0.05)
        assert lies(live) == {"w0": 1}


async def test_who_lied_is_not_believed_alone_for_a_while() -> None:
    """Whether the code doubts it or not; until most of its last results were confirmed."""
    crew = workers(SLOTS, 2)
    async with serving(*crew, code=CODE, policy={**WARY, "wait": "all", "recheck": 1e-9}) as live:
        for seed in range(5):
            await live.infer(queries(K, seed))
        assert live.pool.trust.score(crew[2].address) < 0.5
        crew[2].function = doubled
        resent = [live.deployment.statistics.tasks_resent]
        for seed in range(5):
            await live.infer(queries(K, seed))
            resent.append(live.deployment.statistics.tasks_resent)
        assert [after - before for before, after in pairwise(resent)] == [1, 1, 0, 0, 0]
        assert lies(live) == {"w2": 5}


async def test_a_defect_in_comparing_costs_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the stream that the result came on, nor the master."""

    def broken(results: Results, slot: int) -> None:
        raise RuntimeError("as told")

    async with serving(*workers(SLOTS, 2), code=CODE, policy={**WARY, "wait": "all"}) as live:
        with monkeypatch.context() as patch:
            patch.setattr(Results, "compare", broken)
            with pytest.raises(RuntimeError, match="as told"):
                await live.infer(queries(K))
        rows = queries(K, 1)
        request = await live.infer(rows)
        np.testing.assert_allclose(request.outputs, truth(rows), atol=0.02)
        assert live.pool.workers_up == SLOTS


async def test_none_is_asked_again_where_the_policy_says_so() -> None:
    policy = {**WARY, "wait": "all", "recheck": 0}
    async with serving(*workers(SLOTS, 2), code=CODE, policy=policy) as live:
        for seed in range(10):
            request = await live.infer(queries(K, seed))
            assert all(len(slots) == SLOTS - 1 for slots in request.responders.values())
        assert lies(live) == {"w2": 10}
        assert live.deployment.statistics.tasks_resent == 0
