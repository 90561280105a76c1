"""Products that a master makes over its workers: as exact, refused as early, nothing hangs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from kofn.matrices import Progress, Wish, engine
from kofn.matrices.remote import multiply_at
from kofn.wire import channels, matrices_pb2_grpc
from kofn.wire import matrices_pb2 as pb
from kofn.wire.errors import InvalidArgument, KofnError, ResourceExhausted, from_rpc_error
from kofn.wire.matrices import head_of
from master import products
from models.store import Store
from support.cluster import Cluster, cluster
from support.until import until
from worker.faults_text import parse_faults

PATIENCE_S = 20.0
LATE = '{"delay": {"law": "constant", "value_ms": 60000, "interruptible": true}}'


@pytest.fixture
async def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """A master without deployments, six workers."""
    monkeypatch.setattr(engine, "PAUSE_S", 0.0)
    worker = {"matrices_mb": 1, "drain_s": 0}
    async with cluster(tmp_path, Store(tmp_path / "store"), [], 6, worker=worker) as running:
        assert await running.master.state.pool.wait_for_workers(6, PATIENCE_S)
        yield running


@pytest.fixture
async def channel(live: Cluster) -> AsyncIterator[Any]:
    """To the master."""
    async with channels.client_channel(live.master.address) as opened:
        yield opened


async def test_a_master_multiplies(live: Cluster, channel: Any) -> None:
    """C is exact, the report tells its estimate, a straggler is not waited for."""
    live.workers[0].dispatcher.set_faults(parse_faults(LATE))
    a, b = _operands(np.float32)
    progress = Progress()
    wish = Wish((2, 1, 2), timeout_s=PATIENCE_S)
    product, report = await multiply_at(channel, a, b, wish, np.empty, progress)
    truth = a.astype(np.float64) @ b
    error = np.linalg.norm(product - truth) / np.linalg.norm(truth)
    assert error <= report.estimate <= 1e-3
    assert len(report.used) == 5
    assert live.workers[0].address not in report.used
    assert report.checked
    assert (progress.nodes, progress.needed) == (6, 4)
    assert progress.answered >= 5


async def test_who_lies_is_told_to_the_pool(live: Cluster, channel: Any) -> None:
    """And after some lies is asked no more."""
    liar = live.workers[1]
    liar.dispatcher.set_faults(parse_faults('{"corruption": {"law": "sign-flip"}}'))
    a, b = _operands(np.float64)
    pool = live.master.state.pool
    async with asyncio.timeout(PATIENCE_S):
        while pool.trust.standing(liar.address) != "quarantined":
            wish = Wish((1, 1, 2), spares=3, timeout_s=PATIENCE_S)
            product, _ = await multiply_at(channel, a, b, wish, np.empty, Progress())
            np.testing.assert_allclose(product, a @ b, rtol=0, atol=1e-9)
    _, report = await multiply_at(channel, a, b, wish, np.empty, Progress())
    assert liar.address not in (*report.used, *report.liars)


async def test_refusals_come_before_bytes_are_sent(live: Cluster, channel: Any) -> None:
    """Of shapes, settings and sizes; in the words that a product from Python has."""
    a = np.ones((3, 2))
    for left, right, grid, error, says in (
        (a, a, None, InvalidArgument, "as many columns as B has rows"),
        (a, a.T.copy(), (4, 1, 4), InvalidArgument, "needs 16 workers, and there are 6"),
        (a, a.T.astype(np.float32), None, InvalidArgument, "one datatype"),
        (np.ones((400, 400)), np.ones((400, 400)), (1, 1, 1), ResourceExhausted, "needs 4 MiB"),
    ):
        wish = Wish(grid, timeout_s=PATIENCE_S)
        with pytest.raises(error, match=says):
            await multiply_at(channel, left, right, wish, np.empty, Progress())
    assert all(server.dispatcher.busy_s == 0 for server in live.workers)


async def test_messages_out_of_order(live: Cluster, channel: Any) -> None:
    """A stream that does not open with a wish, has too few bytes, or too many."""
    stub: Any = matrices_pb2_grpc.ProductsStub(channel)
    head = head_of(np.ones((1, 1)))
    wish = pb.MatmulRequest(wish=pb.MatmulWish(a=head, b=head))
    for messages, says in (
        ([pb.MatmulRequest(data=b"12")], "open with 'wish'"),
        ([wish, pb.MatmulRequest(data=bytes(12))], "B must have 8 bytes, not 4"),
        ([wish, pb.MatmulRequest(data=bytes(20))], "no bytes after B"),
        ([wish, wish], "Only bytes may follow"),
    ):
        call = stub.Matmul(iter(messages), timeout=PATIENCE_S)
        with pytest.raises(Exception, match=says) as caught:
            async for _ in call:
                pass
        assert isinstance(from_rpc_error(caught.value), InvalidArgument)


async def test_a_caller_that_stops_sending_is_not_waited_for_without_end(
    live: Cluster, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its wish or after it: others are to have its place."""
    monkeypatch.setattr(products, "LONGEST_S", 0.3)
    stub: Any = matrices_pb2_grpc.ProductsStub(channel)
    head = head_of(np.ones((1, 1)))
    wish = pb.MatmulRequest(wish=pb.MatmulWish(a=head, b=head))
    is_over = asyncio.Event()

    async def stopping(*messages: pb.MatmulRequest) -> AsyncIterator[pb.MatmulRequest]:
        for message in messages:
            yield message
        await is_over.wait()

    for messages in ((), (wish,), (wish, pb.MatmulRequest(data=bytes(12)))):
        call = stub.Matmul(stopping(*messages))  # no deadline
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(grpc.aio.AioRpcError, match="did not come in time"):
                async for _ in call:
                    pass
    is_over.set()


async def test_one_more_product_than_may_be_made_is_refused(live: Cluster, channel: Any) -> None:
    """And when one is given up there is room again, and nothing goes on at the workers."""
    for server in live.workers:
        server.dispatcher.set_faults(parse_faults(LATE))
    a, b = _operands(np.float64)
    wish = Wish((1, 1, 2), timeout_s=PATIENCE_S)
    waiting = [
        asyncio.ensure_future(multiply_at(channel, a, b, wish, np.empty, Progress()))
        for _ in range(2)
    ]
    busy = [server.dispatcher for server in live.workers]
    await until(lambda: all(dispatcher._others == 2 for dispatcher in busy))
    with pytest.raises(ResourceExhausted, match="being made already"):
        await multiply_at(channel, a, b, wish, np.empty, Progress())
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await until(lambda: all(dispatcher._others == 0 for dispatcher in busy))


async def test_a_master_that_leaves_ends_its_products(live: Cluster, channel: Any) -> None:
    """With an error at the caller, long before its deadline."""
    for server in live.workers:
        server.dispatcher.set_faults(parse_faults(LATE))
    a, b = _operands(np.float64)
    wish = Wish((1, 1, 2), timeout_s=300.0)
    making = asyncio.ensure_future(multiply_at(channel, a, b, wish, np.empty, Progress()))
    await until(lambda: all(server.dispatcher._others == 1 for server in live.workers))
    await asyncio.gather(*(server.stop(0) for server in live.master._servers))
    with pytest.raises(KofnError) as caught:
        await asyncio.wait_for(making, PATIENCE_S)
    assert caught.value.status.name in ("UNAVAILABLE", "CANCELLED")


def _operands(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0)
    a, b = noise.standard_normal((37, 29)), noise.standard_normal((29, 41))
    return a.astype(dtype), b.astype(dtype)
