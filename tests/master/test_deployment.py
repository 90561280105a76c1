"""One deployment over real streams to scripted workers: what comes back, what is left behind."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest

from kofn.wire.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from master.pool import Pool
from master.query import Source
from support.scripted import ScriptedWorker
from support.serving import queries, serving, truth
from support.until import until

PARITY = {"name": "parity", "k": 2, "n": 3}
UNCODED = {"name": "uncoded", "k": 2}
SOON = {"wait": "soft", "soft_deadline": "1ms"}


def workers(count: int, **scripts: str) -> list[ScriptedWorker]:
    """Workers w0, w1, ...; `w1="hold"` makes that one hold every task."""
    acts = {f"w{i}": scripts.get(f"w{i}", "reply") for i in range(count)}
    return [ScriptedWorker(name, script=lambda _, act=act: act) for name, act in acts.items()]


async def quiet(pool: Pool) -> None:
    """Wait until no task is outstanding anywhere."""
    await until(lambda: not any(link.in_flight for link in pool.links.values()))


async def test_direct_answers_are_the_uncoded_ones_bit_for_bit() -> None:
    """Every own worker answers: nothing is decoded."""
    rows = queries(6)
    async with serving(*workers(3), code=PARITY, policy={"wait": "all"}) as live:
        request = await live.infer(rows)
        np.testing.assert_array_equal(request.outputs, truth(rows))
        assert request.source.tolist() == [Source.DIRECT] * 6
        assert request.expected_error.tolist() == [0.0] * 6
        assert list(request.responders.values()) == [(0, 1, 2)]


@pytest.mark.parametrize("act", ["hold", "fail", "garbage", "nan", "ignore", "break"])
async def test_a_bad_worker_is_decoded_around(act: str) -> None:
    """Late, failing, garbled, non-finite, silent, gone: the answers are there all the same."""
    rows = queries(8)
    async with serving(*workers(3, w1=act), code=PARITY, policy=SOON) as live:
        request = await live.infer(rows)
        np.testing.assert_allclose(request.outputs, truth(rows), rtol=1e-4, atol=1e-4)
        decoded = request.source == Source.DECODED
        assert decoded.sum() in (0, 4)  # w1 had an own slot of every group, or the parity
        assert not (request.source == Source.MISSING).any()


async def test_late_work_is_cancelled_at_the_worker() -> None:
    """Who is not needed any more is told; it has something to do until it is rid of that."""
    async with serving(*workers(3, w2="hold"), code=PARITY, policy=SOON) as live:
        assignment, late = live.pool.assignment, live.workers[2]
        before = repr(assignment)
        for _ in range(3):
            await live.infer(queries(2))
        await quiet(live.pool)
        # What was cancelled before it was written never came to it.
        await until(lambda: late.tasks and len(late.cancelled) == len(late.tasks))
        await until(lambda: assignment.outstanding(late.address) == len(late.tasks))
        assert assignment.assign(3)[2] == late.address
        late.gate.set()
        await until(lambda: repr(assignment) == before)
        assignment.check()


@pytest.mark.parametrize(("waiting", "leave"), [(0, 3), (20, 2)])
async def test_a_budget_sends_the_parity_along_while_queues_are_short(
    waiting: int, leave: int
) -> None:
    """What a batch finds at its workers decides."""
    policy = {"wait": "adaptive", "budget": 0.6}
    async with serving(*workers(3), code=PARITY, policy=policy) as live:
        addresses = [worker.address for worker in live.workers]
        for address in waiting * addresses:
            live.pool.assignment.sent(address)
        await live.infer(queries(2))
        assert live.deployment.statistics.tasks_sent == leave
        await quiet(live.pool)
        for address in waiting * addresses:
            live.pool.assignment.done(address)


async def test_a_late_worker_that_is_busy_still_gets_nothing_that_another_has_time_for() -> None:
    """Its task was hedged and cancelled, and yet it runs: it would be late with the next, too."""
    policy = {"wait": "first", "hedge": "1ms", "max_sends": 2}
    code = {"name": "uncoded", "k": 1}
    async with serving(*workers(3, w2="hold"), code=code, policy=policy) as live:
        for _ in range(9):
            request = await live.infer(queries(1))
            assert request.source.tolist() == [Source.DIRECT]
        assert len(live.workers[2].tasks) == 1


async def test_a_second_reply_is_ignored() -> None:
    """A worker that answers twice changes nothing."""
    rows = queries(4)
    replies = workers(3, w0="twice", w1="twice", w2="twice")
    async with serving(*replies, code=PARITY, policy={"wait": "all"}) as live:
        for _ in range(3):
            np.testing.assert_array_equal((await live.infer(rows)).outputs, truth(rows))
        live.pool.assignment.check()


async def test_uncoded_survives_a_worker_that_fails() -> None:
    """What no other slot can give is sent again, to another worker."""
    rows = queries(4)
    async with serving(*workers(3, w0="fail"), code=UNCODED) as live:
        request = await live.infer(rows)
        np.testing.assert_array_equal(request.outputs, truth(rows))
        assert request.source.tolist() == [Source.DIRECT] * 4


async def test_a_broken_stream_comes_back() -> None:
    """The link connects again, and the worker serves again."""
    acts = iter(["break"])
    worker = ScriptedWorker("w0", script=lambda _: next(acts, "reply"))
    rows = queries(2)
    async with serving(worker, code={"name": "uncoded", "k": 1}) as live:
        with suppress(Unavailable):  # the only worker is gone for a moment
            await live.infer(rows)
        assert await live.pool.wait_for_workers(1, 5.0)
        np.testing.assert_array_equal((await live.infer(rows)).outputs, truth(rows))


async def test_hedging_wins_over_a_late_worker() -> None:
    """The second send of a late slot answers; its first is cancelled."""
    rows = queries(2)
    policy = {"wait": "soft", "hedge": "1ms"}
    async with serving(*workers(3, w0="hold"), code=UNCODED, policy=policy) as live:
        for _ in range(3):
            request = await live.infer(rows)
            np.testing.assert_array_equal(request.outputs, truth(rows))
        assert live.deployment.statistics.tasks_resent >= 1


async def test_the_deadline_says_how_many_slots_came() -> None:
    """Nobody answers: DEADLINE_EXCEEDED with counts, in time, and nothing hangs on."""
    held = workers(3, w0="hold", w1="hold", w2="hold")
    async with serving(*held, code=PARITY, policy=SOON) as live:
        with pytest.raises(DeadlineExceeded, match=r"4 of 4 answers.*0 of 3 slots"):
            await live.infer(queries(4), timeout_s=0.5)
        await quiet(live.pool)


async def test_partial_answers_where_the_client_allows_them() -> None:
    """Two of three slots are lost for good: the third's answers are handed out, if it has any."""
    rows = queries(4)
    mute = workers(3, w0="ignore", w1="ignore")
    async with serving(*mute, code=PARITY, policy={"wait": "soft", "hedge": None}) as live:
        # The late ones come last from now on, so that w2 has an own slot.
        with suppress(DeadlineExceeded):
            await live.infer(rows, timeout_s=0.1)
        request = await live.infer(rows, timeout_s=0.1, allow_partial=True)
        had = request.source == Source.DIRECT
        assert had.sum() == 2
        np.testing.assert_array_equal(request.outputs[had], truth(rows)[had])
        assert np.isnan(request.outputs[~had]).all()
        live.workers[2].script = lambda number: "ignore"
        with pytest.raises(DeadlineExceeded):
            await live.infer(rows, timeout_s=0.1, allow_partial=True)


async def test_clients_share_groups_and_never_see_padding() -> None:
    """Five clients of one row each, in groups of two: one batch, one padded group."""
    batching = {"max_delay_ms": 50, "max_groups": 3}
    async with serving(*workers(3), code=PARITY, batching=batching) as live:
        rows = queries(5)
        requests = await asyncio.gather(*(live.infer(rows[i : i + 1]) for i in range(5)))
        np.testing.assert_array_equal(
            np.concatenate([request.outputs for request in requests]), truth(rows)
        )
        assert live.deployment.statistics.batches == 1


async def test_a_large_request_is_cut_into_batches() -> None:
    """Each row comes back at its own place, whatever batch it travelled in."""
    rows = queries(37)
    batching = {"max_groups": 4, "max_in_flight": 2}
    async with serving(*workers(3), code=PARITY, batching=batching) as live:
        request = await live.infer(rows)
        np.testing.assert_array_equal(request.outputs, truth(rows))
        assert live.deployment.statistics.batches == 5
        assert len(request.responders) == 5


async def test_the_queue_is_bounded() -> None:
    """What does not fit is refused at once; what was taken is answered."""
    held = workers(3, w0="hold", w1="hold", w2="hold")
    batching = {"max_groups": 1, "queue_rows": 4, "max_request_rows": 4, "max_in_flight": 1}
    async with serving(*held, code=PARITY, batching=batching) as live:
        taken = [asyncio.create_task(live.infer(queries(2))) for _ in range(3)]
        await until(lambda: live.deployment.queued_rows == 4)
        with pytest.raises(ResourceExhausted, match="4 rows wait and at most 4"):
            await live.infer(queries(1))
        for worker in live.workers:
            worker.gate.set()
        for request in await asyncio.gather(*taken):
            np.testing.assert_allclose(request.outputs, truth(queries(2)), rtol=1e-5)


async def test_a_caller_that_hangs_up_leaves_nothing() -> None:
    """Its queued rows never leave, its tasks are cancelled, and others are served."""
    held = workers(3, w0="hold", w1="hold", w2="hold")
    batching = {"max_groups": 1, "max_in_flight": 1}
    async with serving(*held, code=PARITY, batching=batching) as live:
        caller = asyncio.create_task(live.infer(queries(6)))
        await until(lambda: live.deployment.queued_rows == 4)
        caller.cancel()
        with suppress(asyncio.CancelledError):
            await caller
        assert live.deployment.queued_rows == 0
        assert live.deployment.batches_in_flight == 0
        await quiet(live.pool)
        for worker in live.workers:
            worker.gate.set()
        rows = queries(2, seed=1)
        np.testing.assert_allclose((await live.infer(rows)).outputs, truth(rows), rtol=1e-5)


async def test_no_worker_is_said_at_once() -> None:
    """With nobody to send to, the client does not wait for its deadline."""
    async with serving(code=PARITY) as live:
        with pytest.raises(Unavailable, match="0 of 3 slots"):
            await live.infer(queries(2))


async def test_draining_refuses_new_requests_and_answers_old_ones() -> None:
    """Close waits for what was taken."""
    async with serving(*workers(3, w0="hold", w1="hold", w2="hold"), code=PARITY) as live:
        taken = asyncio.create_task(live.infer(queries(2)))
        await until(lambda: live.deployment.batches_in_flight == 1)
        closing = asyncio.create_task(live.deployment.close("draining for the test", 5.0))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="draining for the test"):
            await live.infer(queries(2))
        for worker in live.workers:
            worker.gate.set()
        await closing
        assert (await taken).pending == 0


async def test_a_draining_worker_gets_nothing_new() -> None:
    """It answers what it has; the next batch goes around it."""
    acts = iter(["drain"])
    drains = ScriptedWorker("w0", script=lambda _: next(acts, "reply"))
    rows = queries(2)
    async with serving(drains, *workers(3)[1:], code=PARITY, policy=SOON) as live:
        while not drains.tasks:
            await live.infer(rows)
        await until(lambda: live.pool.workers_up == 2)
        had = len(drains.tasks)
        for _ in range(4):
            request = await live.infer(rows)
            np.testing.assert_allclose(request.outputs, truth(rows), rtol=1e-4, atol=1e-4)
        assert len(drains.tasks) == had


async def test_pads_are_fresh_for_every_batch_and_change_no_answer() -> None:
    """The same question asked twice reaches the workers in another shape; without pads it does not.
    Shards are as large as the pads."""
    rows = queries(2)
    hidden = {"name": "lagrange", "k": 2, "n": 5, "pads": 1, "offset": 0.25}
    plain = {"name": "lagrange", "k": 2, "n": 5}
    for code, is_hidden in ((hidden, True), (plain, False)):
        async with serving(*workers(5), code=code, policy={"wait": "all"}) as live:
            for _ in range(5):  # slots rotate: after five batches each worker has had each one
                request = await live.infer(rows)
                np.testing.assert_allclose(request.outputs, truth(rows), rtol=1e-4, atol=1e-4)
            shards = [task.inputs[0].data for worker in live.workers for task in worker.tasks]
            assert len(shards) == 25
            assert len(set(shards)) == (25 if is_hidden else 5)
