"""Liars over real streams: what they say does no harm, they are found out and kept out."""

import numpy as np
import pytest

from kofn.wire.errors import DeadlineExceeded, Unavailable
from master.query import Source
from support.scripted import ScriptedWorker, doubled
from support.serving import Serving, queries, serving, truth
from support.until import until

EXACT = {"name": "lagrange", "k": 3, "n": 5}  # linear: R = 3, and two more against one liar
OWN = {"name": "lagrange", "k": 3, "n": 6}  # every other slot is a query
AGAINST_ONE = {"liars": 1, "wait": "first"}


def lying(shard: np.ndarray) -> np.ndarray:
    """The negative of what was asked for."""
    return -doubled(shard)


def workers(count: int, *liars: int) -> list[ScriptedWorker]:
    """Workers w0, w1, ..., of whom some lie all the time."""
    return [
        ScriptedWorker(f"w{i}", function=lying if i in liars else doubled) for i in range(count)
    ]


def address_of(live: Serving, name: str) -> str:
    return next(worker.address for worker in live.workers if worker.name == name)


async def test_a_liar_changes_no_answer_and_is_quarantined() -> None:
    """After a few lies it gets no more tasks; the others are trusted."""
    async with serving(*workers(6, 2), code=EXACT, policy=AGAINST_ONE) as live:
        liar = address_of(live, "w2")
        for seed in range(20):
            rows = queries(9, seed)
            request = await live.infer(rows)
            np.testing.assert_allclose(request.outputs, truth(rows), rtol=1e-4, atol=1e-4)
        trust = live.pool.trust
        assert trust.standing(liar) == "quarantined"
        assert trust.lies(liar) == 4
        assert live.pool.workers_up == 5
        seen = len(live.workers[2].tasks)
        await live.infer(queries(9))
        assert len(live.workers[2].tasks) == seen
        assert all(trust.score(w.address) == 1.0 for w in live.workers if w.name != "w2")
        live.pool.assignment.check()


async def test_a_liar_is_not_quarantined_where_it_is_needed() -> None:
    """n workers for n slots: it goes on, is found each time, and does no harm."""
    async with serving(*workers(5, 2), code=EXACT, policy=AGAINST_ONE) as live:
        for seed in range(8):
            rows = queries(3, seed)
            request = await live.infer(rows)
            np.testing.assert_allclose(request.outputs, truth(rows), rtol=1e-4, atol=1e-4)
        assert live.pool.trust.standing(address_of(live, "w2")) == "trusted"
        assert live.pool.trust.score(address_of(live, "w2")) < 0.2
        assert live.pool.workers_up == 5


async def test_own_answers_of_honest_workers_stay_direct() -> None:
    """Bit for bit; that of the liar is decoded from the others."""
    policy = {"liars": 1, "wait": "all"}
    sources = set()
    async with serving(*workers(6, 1), code=OWN, policy=policy) as live:
        for seed in range(6):  # slots rotate: the liar has an own slot, then one of the others
            rows = queries(3, seed)
            request = await live.infer(rows)
            direct = request.source == Source.DIRECT
            np.testing.assert_array_equal(request.outputs[direct], truth(rows)[direct])
            np.testing.assert_allclose(request.outputs, truth(rows), rtol=1e-4, atol=1e-4)
            sources.add(int(direct.sum()))
            assert all(len(slots) == 5 for slots in request.responders.values())
    assert sources == {2, 3}


async def test_more_liars_than_expected_give_an_error_and_no_answer() -> None:
    """At once, since nobody is left who could tell; the reason says what was needed."""
    async with serving(*workers(5, 1, 2), code=EXACT, policy=AGAINST_ONE) as live:
        with pytest.raises(Unavailable, match=r"do not fit together.*3 \+ 2 x 1 are needed"):
            await live.infer(queries(3))
        assert all(live.pool.trust.score(worker.address) == 1.0 for worker in live.workers)


async def test_two_liars_are_found_where_enough_others_reply() -> None:
    """Though one was expected: what was found is proved."""
    code = {"name": "lagrange", "k": 3, "n": 7}
    async with serving(*workers(7, 1, 2), code=code, policy=AGAINST_ONE) as live:
        for seed in range(4):
            rows = queries(6, seed)
            request = await live.infer(rows)
            np.testing.assert_allclose(request.outputs, truth(rows), rtol=1e-4, atol=1e-4)


async def test_too_few_to_outvote_a_liar_are_no_answer() -> None:
    """Three of five would do if nobody could lie."""
    held = workers(5)
    held[0].script = held[1].script = lambda number: "hold"
    async with serving(*held, code=EXACT, policy=AGAINST_ONE) as live:
        with pytest.raises(DeadlineExceeded, match="3 of 5 slots replied"):
            await live.infer(queries(3), timeout_s=0.3)
        await until(lambda: not any(link.in_flight for link in live.pool.links.values()))


async def test_a_quarantined_worker_that_connects_again_stays_out() -> None:
    """Its past is its address's."""
    async with serving(*workers(6, 2), code=EXACT, policy=AGAINST_ONE) as live:
        liar = address_of(live, "w2")
        for seed in range(12):
            await live.infer(queries(3, seed))
        assert live.pool.trust.standing(liar) == "quarantined"
        live.pool.up(live.pool.links[liar])
        assert live.pool.workers_up == 5
        assert liar not in live.pool.assignment.assign(6)
