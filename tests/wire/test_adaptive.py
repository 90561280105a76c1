"""Adaptive redundancy over real streams: what is sent at first, and when a worker is late."""

import numpy as np

from kofn.wire.source import Source
from support.scripted import ScriptedWorker
from support.serving import queries, serving, truth

USUAL_S = 0.3  # what tasks took so far: none of these is taken for late on a busy machine


async def test_parities_stay_behind_until_a_worker_is_late() -> None:
    workers = [ScriptedWorker(f"w{i}") for i in range(3)]
    async with serving(
        *workers, code={"name": "parity", "k": 2, "n": 3}, policy={"wait": "adaptive"}
    ) as now:
        adaptive, seen = now.deployment._coding.adaptive, now.deployment.statistics
        await now.infer(queries(2))
        assert seen.tasks_sent == 3  # nothing is known yet
        for _ in range(1000):
            adaptive.ended([(USUAL_S, True)])
        adaptive._purse.earn(1000)
        await now.infer(queries(2))
        assert seen.tasks_sent == 5
        for number, worker in enumerate(workers):
            first = len(worker.tasks)
            worker.script = lambda task, first=first, n=number: (
                "hold" if n == 0 and task == first else "reply"
            )
        rows = queries(2)
        for _ in range(3):  # of three groups worker 0 has an own slot in one at least
            answered = await now.infer(rows)
            np.testing.assert_array_equal(answered.outputs, truth(rows))
            assert set(answered.source.ravel()) == {Source.DIRECT}
        assert seen.tasks_sent == 5 + 6 + 1
        assert seen.tasks_resent == 1


async def test_a_task_that_is_let_go_is_learned_from() -> None:
    workers = [ScriptedWorker(f"w{i}") for i in range(3)]
    workers[0].script = lambda task: "hold"
    async with serving(
        *workers, code={"name": "parity", "k": 2, "n": 3}, policy={"wait": "adaptive"}
    ) as now:
        await now.infer(queries(2))
        learned = [replied for _, replied in now.deployment._coding.adaptive._law._seen]
        assert sorted(learned) == [False, True, True]


async def test_a_failure_counts_as_late() -> None:
    workers = [ScriptedWorker(f"w{i}") for i in range(3)]
    workers[0].script = lambda task: "fail"
    async with serving(
        *workers, code={"name": "parity", "k": 2, "n": 3}, policy={"wait": "adaptive"}
    ) as now:
        known = now.pool.assignment._workers[workers[0].address]
        while known.lateness == 0.0:  # it may be let go before its failure is heard of
            await now.infer(queries(2))


async def test_a_word_is_a_policy() -> None:
    async with serving(
        ScriptedWorker("w0"), code={"name": "uncoded", "k": 1}, policy="adaptive"
    ) as now:
        assert str(now.deployment.policy) == "adaptive, budget 8 %, at most 3 sends"
        await now.infer(queries(1))
