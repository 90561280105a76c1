"""The standard health service, live: workers and deployments come and go, the master drains."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import kofn
from kofn.wire import worker_pb2
from master.__main__ import _serve
from support.live import Live, deployment, live, unstarted
from support.serving import queries
from support.until import until

INFERENCE, CONTROL = "inference.GRPCInferenceService", "kofn.control.v1.Control"
PRODUCTS = "kofn.matrices.v1.Products"
SERVING, NOT_SERVING, UNKNOWN = "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"


class Stub:
    """The health service, as others see it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = health_pb2_grpc.HealthStub(channel)

    async def check(self, service: str) -> str:
        """What is told of a service now; NOT_FOUND for none."""
        try:
            reply = await self._stub.Check(
                health_pb2.HealthCheckRequest(service=service), timeout=5
            )
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return _name(reply.status)

    def watch(self, service: str) -> "Watch":
        """What is told of it from now on."""
        return Watch(self._stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=30))


class Watch:
    """A watch under way."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def next(self) -> str:
        """The next status."""
        return _name((await self._call.read()).status)

    def cancel(self) -> None:
        """Look no longer."""
        self._call.cancel()


def _name(status: int) -> str:
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


@asynccontextmanager
async def asked(now: Live) -> AsyncIterator[Stub]:
    """Somebody who asks."""
    async with grpc.aio.insecure_channel(now.master.address) as channel:
        yield Stub(channel)


async def _lose(now: Live, count: int) -> None:
    """Break the streams of so many workers, which then greet no more."""
    links = list(now.master.state.pool.links.values())[:count]
    for worker in now.workers:
        if worker.address in {link.address for link in links}:
            worker.script = lambda number: "break"
            worker.is_mute = True
    while any(link.state == "up" for link in links):
        for link in links:
            link.send(_task(), lambda outcome: None)
        await asyncio.sleep(0)


def _task() -> worker_pb2.ToWorker:
    return worker_pb2.ToWorker(task=worker_pb2.Task())


async def test_a_model_serves_while_enough_workers_are_up(archive: Path) -> None:
    """R = 2 of 3: one may go, not two; a watcher hears of it, and of their return."""
    async with live(archive) as now, asked(now) as health:
        watch = health.watch("doubled")
        assert await watch.next() == SERVING
        await _lose(now, 1)
        assert await health.check("doubled") == SERVING
        await _lose(now, 2)
        assert await watch.next() == NOT_SERVING
        assert await health.check("") == NOT_SERVING
        assert await health.check(INFERENCE) == NOT_SERVING
        assert await health.check(CONTROL) == SERVING
        assert not await now.client.model_ready("doubled")
        for worker in now.workers:
            worker.script, worker.is_mute = (lambda number: "reply"), False
        assert await watch.next() == SERVING
        await until(lambda: now.master.state.pool.workers_up >= 2)
        assert await health.check("") == SERVING
        watch.cancel()


async def test_deployments_that_come_and_go_are_told(archive: Path) -> None:
    """One that needs more workers than there are does not serve; the whole goes on."""
    async with live(archive) as now, asked(now) as health:
        wide, other = health.watch("wide"), health.watch("other")
        assert (await wide.next(), await other.next()) == (UNKNOWN, UNKNOWN)
        code = {"name": "parity", "k": 4, "n": 5}
        await now.client.deploy(deployment(archive, name="wide", code=code))
        assert await wide.next() == NOT_SERVING
        await now.client.deploy(deployment(archive, name="other"))
        assert await other.next() == SERVING
        assert await health.check("") == SERVING
        await now.client.undeploy("other")
        assert await other.next() == UNKNOWN
        assert await health.check("other") == "NOT_FOUND"
        assert await health.check("doubled") == SERVING
        for watch in (wide, other):
            watch.cancel()


async def test_a_draining_master_says_so_first(archive: Path) -> None:
    """Before it refuses anything: the request in hand is answered, and health is told already."""
    async with live(archive) as now, asked(now) as health:
        for worker in now.workers:
            worker.script = lambda number: "hold"
        watches = [health.watch(service) for service in ("", "doubled", CONTROL)]
        assert [await watch.next() for watch in watches] == [SERVING] * 3
        asking = asyncio.create_task(now.client.infer("doubled", queries(2), timeout_s=5))
        await until(lambda: all(worker.tasks for worker in now.workers))
        leaving = asyncio.create_task(now.master.__aexit__(None, None, None))
        assert [await watch.next() for watch in watches] == [NOT_SERVING] * 3
        assert not asking.done()
        for worker in now.workers:
            worker.gate.set()
        assert (await asking).is_whole
        for watch in watches:
            watch.cancel()
        await leaving


async def test_whoever_asks_again_after_the_last_answer_hears_why_not(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the process does it: the master that has no more to answer is not gone at once."""
    stop, ready = asyncio.Event(), tmp_path / "ready.json"
    monkeypatch.setattr("master.__main__.stop_event", lambda until_eof: stop)
    monkeypatch.setattr("master.__main__.REFUSING_S", 30.0)  # until the test has asked
    async with unstarted(archive) as (master, workers):
        for worker in workers:
            worker.script = lambda number: "hold"
        process = asyncio.create_task(_serve(master, ready, until_eof=False))
        await until(ready.exists)
        async with kofn.AsyncClient(master.address, retry=kofn.Retry(attempts=1)) as client:
            asking = asyncio.create_task(client.infer("doubled", queries(2), timeout_s=5))
            await until(lambda: all(worker.tasks for worker in workers))
            stop.set()
            await until(lambda: master.state.draining)
            for worker in workers:
                worker.gate.set()
            assert (await asking).is_whole
            for _ in range(5):  # what comes at once may be in time in any case
                with pytest.raises(kofn.Unavailable) as refused:
                    await client.infer("doubled", queries(2), timeout_s=5)
                assert refused.value.reason == "draining"
        process.cancel()
        with pytest.raises(asyncio.CancelledError):
            await process


async def test_reflection_lists_every_service(archive: Path) -> None:
    """Those of the master."""
    async with live(archive) as now, grpc.aio.insecure_channel(now.master.address) as channel:
        assert await _services(channel) == {
            INFERENCE, PRODUCTS, CONTROL, "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }  # fmt: skip


async def _services(channel: grpc.aio.Channel) -> set[str]:
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=5)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {item.name for item in (await call.read()).list_services_response.service}
    call.cancel()
    return names


async def test_models_that_are_gone_leave_nothing_behind(archive: Path) -> None:
    """Names do not pile up in the health service."""
    async with live(archive) as now:
        before = len(now.master._health._server_status)
        for number in range(50):
            now.master.state.deployments[f"m{number}"] = now.master.state.deployments["doubled"]
            await now.master._health.tell()
            del now.master.state.deployments[f"m{number}"]
        await now.master._health.tell()
        assert len(now.master._health._server_status) == before
